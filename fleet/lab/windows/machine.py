"""A Windows machine for scripts under PowerShell for Linux: what they find there, in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.lab.windows.powershell import QUIET

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
        programs = self.folder / "programs"
        for place in (programs, self.data, self.folder / "SystemDrive"):
            place.mkdir(parents=True, exist_ok=True)
        for source in (_HERE / "programs").glob("*.sh"):
            target = programs / f"{source.stem}.exe"
            shutil.copyfile(source, target)
            target.chmod(0o755)
        self.file("user").write_text(SYSTEM)

    @property
    def data(self) -> Path:
        """The folder for the data of programs."""
        return self.folder / "ProgramData"

    def file(self, name: str) -> Path:
        """A file of the machine's state."""
        return self.folder / name

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a script on this machine, made of the one of this process."""
        return {
            **{name: text for name, text in environ.items() if name in ("HOME", "LANG", "TMPDIR")},
            **QUIET,
            "PATH": f"{self.folder / 'programs'}:{environ.get('PATH', '')}",
            "PSModulePath": str(_HERE / "modules"),
            "ProgramData": str(self.data),
            "SystemDrive": str(self.folder / "SystemDrive"),
            "FLEET_PLAYED_WINDOWS": str(self.folder),
        }

    def command(self, script: Path, arguments: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a script file, with arguments by name."""
        words = [f"& {quote(str(_HERE / 'identity.ps1'))}; & {quote(str(script))}"]
        words += [f"-{name} {quote(value)}" for name, value in (arguments or {}).items()]
        line = " ".join(words) + "; exit $LASTEXITCODE"
        return [self.pwsh, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command", line]


def quote(text: str) -> str:
    """Quote text as one word of PowerShell."""
    return "'" + text.replace("'", "''") + "'"
