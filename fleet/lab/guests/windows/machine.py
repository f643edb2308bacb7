"""A Windows machine for scripts: what they find there, in a folder of its own.

Under PowerShell for Linux what it lacks is played. On Windows nothing is: programs, users and WMI are the machine's own.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.lab.guests.windows.powershell import SWITCHES, environment
from fleet.lab.guests.windows.state import VARIABLE

SYSTEM = "S-1-5-18"
"""The security identifier of the local system, as which Azure's handler runs scripts (documented)."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class WindowsMachine:
    """What is played for scripts: programs, modules, the user. State and faults are files in ``folder``.

    ``boot``: seconds since 1970. ``wmi-fails``, ``wmi-hangs``: classes. ``user``: a security identifier. ``shutdowns``:
    what ``shutdown.exe`` was asked for; ``shutdown-says``: how it ends. ``data`` stands for ``%ProgramData%``.
    """

    folder: Path
    pwsh: str

    def __post_init__(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":
            self._play()

    def _play(self) -> None:
        programs = self.folder / "programs"
        for place in (programs, self.folder / "SystemDrive"):
            place.mkdir(exist_ok=True)
        for source in (_HERE / "programs").glob("*.sh"):
            target = programs / f"{source.stem}.exe"
            shutil.copyfile(source, target)
            target.chmod(0o755)
        self.file("user").write_text(SYSTEM, encoding="ascii")

    @property
    def data(self) -> Path:
        """The folder for the data of programs."""
        return self.folder / "ProgramData"

    def file(self, name: str) -> Path:
        """A file of the machine's state."""
        return self.folder / name

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a script on this machine, made of the one of this process."""
        own = {"ProgramData": str(self.data), VARIABLE: str(self.folder)}
        if sys.platform == "win32":
            return environment(environ, **own)
        kept = {name: text for name, text in environ.items() if name in ("HOME", "LANG", "TMPDIR")}
        return environment(
            kept,
            PATH=f"{self.folder / 'programs'}:{environ.get('PATH', '')}",
            PSModulePath=str(_HERE / "modules"),
            SystemDrive=str(self.folder / "SystemDrive"),
            **own,
        )

    def command(self, script: Path, arguments: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a script file, with arguments by name."""
        if sys.platform == "win32":
            words = [word for name, value in (arguments or {}).items() for word in (f"-{name}", value)]
            return [self.pwsh, *SWITCHES, "-File", str(script), *words]
        words = [f"& {quote(str(_HERE / 'identity.ps1'))}; & {quote(str(script))}"]
        words += [f"-{name} {quote(value)}" for name, value in (arguments or {}).items()]
        line = " ".join(words) + "; exit $LASTEXITCODE"
        return [self.pwsh, *SWITCHES, "-Command", line]


def quote(text: str) -> str:
    """Quote text as one word of PowerShell."""
    return "'" + text.replace("'", "''") + "'"
