"""A guest that stands for a Windows VM: its folders, its programs, its environment, and how a script is started in it.

The guest is a Linux sandbox. Below ``/c`` is what Windows has on its drive C:, below ``/opt/lab`` what is played, and
PowerShell, read-only from wherever it lies on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from fleet.lab.guests.windows.powershell import QUIET, Installation
from fleet.lab.guests.windows.state import VARIABLE, State, fresh
from fleet.lab.world.scripted import Script

_PLAYED = "/opt/lab/windows"
_MODULES = f"{_PLAYED}/modules"
STATE = "/opt/lab/state"
"""Where a guest has the folder of its state."""
_HOST = "/opt/lab/host"
_FOLDER = "/opt/lab/powershell"
_RUNTIME = "/opt/lab/dotnet"
POWERSHELL = f"{_FOLDER}/pwsh"
"""The program itself, which plays nothing."""
_SYSTEM = "/c/Windows/System32"
_SHELL = f"{_SYSTEM}/WindowsPowerShell/v1.0/powershell.exe"
_SHELL_7 = "/c/Program Files/PowerShell/7/pwsh.exe"
_SHELLS = (_SHELL, _SHELL.removesuffix(".exe"), _SHELL_7, _SHELL_7.removesuffix(".exe"))
_FOLDERS = (
    "c/Packages/Plugins", "c/Program Files/PowerShell/7", "c/ProgramData", "c/Users/Administrator", "c/Users/azureuser",
    "c/Users/Public", "c/Windows/System32/WindowsPowerShell/v1.0", "c/Windows/System32/config/systemprofile",
    "c/Windows/Temp", "c/WindowsAzure/Logs",
)  # fmt: skip
_PATH = (
    _SYSTEM,
    "/c/Windows",
    f"{_SYSTEM}/WindowsPowerShell/v1.0",
    "/c/Program Files/PowerShell/7",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
)
POWERSHELL_7 = "Powershell7"
"""What a managed command's source names as its shell, if it is not the default."""
_MACHINE = "S-1-5-21-1004336348-1177238915-682003330"
USERS = {"Administrator": f"{_MACHINE}-500", "azureuser": f"{_MACHINE}-1000"}
"""Users that a managed command may name, and their security identifiers."""

# $1 folder of the script, $2 name of the file for its exit code, $3 program, then its parameters.
_SETUP = r"""
set -e
umask 022
mkdir -p "$1"
cd "$1"
rm -f script.ps1
cat >script.ps1
exec </dev/null
set +e
script=$1/script.ps1 end=$2 shell=$3
shift 3
"$shell" -ExecutionPolicy Unrestricted -File "$script" "$@" &
shell=$!
{ wait $shell; } 2>/dev/null
code=$?
cp "/run/lab-exit/$shell" "/run/$end.$$" 2>/dev/null && mv "/run/$end.$$" "/run/$end"
exit $code
"""


@dataclass(frozen=True, slots=True)
class Windows:
    """What a Windows guest needs of this machine."""

    powershell: Installation
    state: State = field(default_factory=fresh)


def furnish(root: Path, windows: Windows) -> Iterator[tuple[Path, Path]]:
    """Make the folders and programs of a Windows guest. Yield what is to be bound read-only, and where."""
    for each in _FOLDERS:
        (root / each).mkdir(parents=True, exist_ok=True)
    for place in (_PLAYED, STATE):
        (root / place.lstrip("/")).mkdir(parents=True)
    here = files("fleet.lab.guests.windows")
    _copied(here, ".ps1", root / _PLAYED.lstrip("/"))
    for module in here.joinpath("modules").iterdir():
        _copied(module, ".psm1", root / _MODULES.lstrip("/") / module.name)
    system = root / _SYSTEM.lstrip("/")
    _copied(here.joinpath("programs"), ".sh", system, ".exe")
    _program(here.joinpath("restart.sh"), system / "shutdown.exe")
    for shell in _SHELLS:
        _program(here.joinpath("powershell.sh"), root / shell.lstrip("/"))
    yield _found(root, windows.powershell.folder, _FOLDER)
    if windows.powershell.runtime is not None:
        yield _found(root, windows.powershell.runtime, _RUNTIME)


def _found(root: Path, folder: Path, link: str) -> tuple[Path, Path]:
    """Make a place for a folder of the host, at its own path below one of the lab's: relative paths lead to the other."""
    inside = root / _HOST.lstrip("/") / folder.relative_to("/")
    inside.mkdir(parents=True)
    (root / link.lstrip("/")).symlink_to(f"{_HOST}{folder}")
    return folder, inside


def environment(host: str, user: str = "", shell: str = "") -> Mapping[str, str]:
    """Return the environment of a guest's scripts. Names are those that Windows gives; here their case matters.

    Windows PowerShell, which the default ``shell`` stands for, knows no colours.
    """
    name = user or f"{host.upper()[:15]}$"
    profile = f"/c/Users/{user}" if user else f"{_SYSTEM}/config/systemprofile"
    return {
        **QUIET,
        **({} if shell == POWERSHELL_7 else {"NO_COLOR": "1"}),
        "ALLUSERSPROFILE": "/c/ProgramData",
        "APPDATA": f"{profile}/AppData/Roaming",
        "COMPUTERNAME": host.upper()[:15],
        "DOTNET_EnableDiagnostics": "0",
        "DOTNET_ROOT": _RUNTIME,
        VARIABLE: STATE,
        "HOME": profile,
        "LAB_USER": USERS.get(user, ""),
        "LOCALAPPDATA": f"{profile}/AppData/Local",
        "NUMBER_OF_PROCESSORS": "2",
        "OS": "Windows_NT",
        "PATH": ":".join(_PATH),
        "PSModulePath": _MODULES,
        "PROCESSOR_ARCHITECTURE": "AMD64",
        "PUBLIC": "/c/Users/Public",
        "ProgramData": "/c/ProgramData",
        "ProgramFiles": "/c/Program Files",
        "SystemDrive": "/c",
        "SystemRoot": "/c/Windows",
        "TEMP": "/c/Windows/Temp",
        "TMP": "/c/Windows/Temp",
        "TMPDIR": "/c/Windows/Temp",
        "USERDOMAIN": "WORKGROUP",
        "USERNAME": name,
        "USERPROFILE": profile,
        "windir": "/c/Windows",
    }


def words(script: Script, end: str) -> list[str]:
    """Return the command that runs the script on its stdin, as the handlers run it."""
    shell = _SHELL_7 if script.shell == POWERSHELL_7 else _SHELL
    return ["sh", "-c", _SETUP, "sh", script.folder, end, shell, *script.words]


def _copied(source: Traversable, end: str, folder: Path, other: str | None = None) -> None:
    """Copy what has this end in its name, which becomes the ``other`` end."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in source.iterdir():
        if each.name.endswith(end):
            name = each.name.removesuffix(end) + (end if other is None else other)
            _program(each, folder / name)


def _program(source: Traversable, to: Path) -> None:
    to.write_text(source.read_text(encoding="ascii"), encoding="ascii")
    to.chmod(0o755)
