"""What the shipped scripts use of PowerShell, by its own parser, and the list of what Windows PowerShell 5.1 has."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fleet.guest import live, probe, restart, spool
from fleet.guest.delivery import Delivery, Shell
from fleet.guest.wrapper import wrap
from fleet.lab.guests.windows.powershell import SWITCHES, environment
from tests.patience import stretched

LIST = Path(__file__).with_name("windows_powershell.txt")
"""A line for each use that is allowed, and the page that gives it for 5.1 or for .NET Framework 4.6.2."""

PAGES: Mapping[str, str] = {
    "cmdlet": "https://learn.microsoft.com/powershell/module/{}?view=powershell-5.1",
    "about": "https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/{}?view=powershell-5.1",
    "net": "https://learn.microsoft.com/dotnet/api/{}?view=netframework-4.6.2",
    "win32": "https://learn.microsoft.com/windows/win32/{}",
    "program": "https://learn.microsoft.com/windows-server/administration/windows-commands/{}",
    "system": "https://learn.microsoft.com/{}",
    "own": "",
}
"""Where a page of each kind lies. ``own`` is a value that these scripts make themselves."""

_ROOT = Path(__file__).parents[2]
_TOOL = Path(__file__).with_name("surface.ps1")
_PLAYED = _ROOT / "fleet" / "lab" / "guests" / "windows"


def scripts(folder: Path) -> list[Path]:
    """Return every PowerShell text that runs on Windows: playbooks' scripts, and in ``folder`` what Fleet puts together."""
    key, nonce = "20260301-020304-abcd-1", "0" * 32
    delivery = Delivery(
        "Write-Output 'x'",
        Shell.PWSH,
        key,
        nonce,
        5.0,
        env={"A": "it's", "B": "C:\\new"},
        args=("one", "\\"),
        secret_names=("TOKEN",),
    )
    made = {
        "wrapper": wrap(delivery),
        "reader": spool.reader(spool.Wanted(key, spool.Stream.STDOUT, 12, nonce), windows=True),
        "follower": live.follower(live.Since(key, 12, None, 15, nonce), windows=True),
        "probe": probe.prober(key, nonce, windows=True),
        "release": probe.releaser(key, nonce, windows=True),
        "reboot": restart.ask(Shell.PWSH),
        "back": restart.back(Shell.PWSH),
    }
    for name, text in made.items():
        (folder / f"{name}.ps1").write_text(text, "ascii")
    shipped = sorted(_ROOT.glob("playbooks/**/*.ps1"))
    played = [_PLAYED / f"{name}.ps1" for name in ("load", "run", *played_on_windows())]
    return [*shipped, *played, *(folder / f"{name}.ps1" for name in made)]


def played_on_windows() -> list[str]:
    """Return the played parts that ``load.ps1`` loads on Windows as well: the other ones stand for what Windows has."""
    loaded = re.search(r"(?m)^\$FleetWindowsParts = (('\w+'(, )?)+)$", (_PLAYED / "load.ps1").read_text("ascii"))
    assert loaded is not None
    return re.findall(r"\w+", loaded[1])


def used(pwsh: str, files: list[Path], folder: Path) -> dict[str, list[str]]:
    """Return each use, and the places (file:line) where it is. Cmdlets and members do not tell upper from lower case."""
    names = folder / "files"
    names.write_text("".join(f"{path}\n" for path in files), encoding="utf-8-sig")
    words = [pwsh, *SWITCHES, "-File", str(_TOOL), "-List", str(names)]
    done = subprocess.run(
        words,
        env=environment(os.environ),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=stretched(100),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        use, place = line.split("\t")
        found.setdefault(use.lower(), []).append(place)
    return found


def allowed() -> dict[str, str]:
    """Return the list: each use in lower case, and its page as an address ("" where the use is our own)."""
    entries: dict[str, str] = {}
    for line in LIST.read_text("ascii").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\S.*?)  +(\w+)(?::(\S+))?", line)
        assert match is not None and match[2] in PAGES, f"not an entry: {line!r}"
        assert match[1].lower() not in entries, f"twice: {line!r}"
        assert (match[2] == "own") == (match[3] is None), f"no page: {line!r}"
        entries[match[1].lower()] = PAGES[match[2]].format(match[3])
    return entries
