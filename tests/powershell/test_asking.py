"""What is asked of a Windows VM beside a script that runs, and about its boot: follow, probe, end, restart."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fleet.guest import live, probe, restart
from fleet.guest.delivery import Shell
from fleet.guest.live import News, Since
from fleet.guest.probe import Findings, Standing
from fleet.guest.spool import Piece, Stream, Wanted, read_piece
from fleet.guest.wrapper_pwsh import script_text
from fleet.lab.guests.windows.machine import quote
from tests.patience import stretched
from tests.powershell.guest import AGAIN, KEY, NONCE, Guest, Started, delivery, verified
from tests.powershell.system import LINE, is_alive, plays, read_text, sleeper, sleeping
from tests.powershell.test_wrapper import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def guest(pwsh: str, tmp_path: Path) -> Guest:
    return Guest(pwsh, tmp_path)


def begun(guest: Guest, script: str, **more: object) -> Started:
    """Start a script that first says that it runs, by a file, and wait for that."""
    ran = guest.folder / "ran"
    started = guest.deliver(delivery(f"[IO.File]::WriteAllText({quote(str(ran))}, $PID)\n{script}", **more))  # type: ignore[arg-type]
    wait_for(ran)
    return started


def follow(guest: Guest, stdout: int | None, stderr: int | None) -> News:
    since = Since(KEY, stdout, stderr, 0, AGAIN)
    news = live.read_news(guest.run(live.follower(since, windows=True)).message, since)
    assert isinstance(news, News)
    return news


def ask(guest: Guest, text: str) -> Findings:
    wanted = Wanted(KEY, Stream.STDOUT, 0, NONCE)
    piece = read_piece(guest.run(text).message, wanted)
    assert isinstance(piece, Piece)
    return probe.read_report(piece, NONCE)


def test_a_follower_can_say_that_nothing_is_new(guest: Guest) -> None:
    """Before the first line, while a script is quiet, and at its end no bytes are an answer; the end has an exit code."""
    go = guest.folder / "go"
    until = f"while (-not (Test-Path {quote(str(go))})) {{ Start-Sleep -Milliseconds 50 }}"
    started = begun(guest, f"{until}\n'one'; Start-Sleep 1; exit 3")
    try:
        quiet = follow(guest, 0, 0)
        assert (quiet.stdout.data, quiet.stderr.data, quiet.exit) == (b"", b"", None)
    finally:
        go.write_text("x", "ascii")
    started.answer()
    end = follow(guest, 0, None)
    assert (end.stdout.data, end.exit) == (b"one" + LINE, 3)
    nothing = follow(guest, end.stdout.end, 0)
    assert (nothing.stdout.data, nothing.stderr.data, nothing.exit) == (b"", b"", 3)


def test_a_probe_shows_a_script_at_work(guest: Guest) -> None:
    """State, processes, machine and the ends of both streams; then the script and all below it are ended, and no other."""
    started = begun(guest, f"'out'; [Console]::Error.WriteLine('err')\n{sleeping(301, '-Wait')}")
    with subprocess.Popen(sleeper(300, str(guest.place() / "script.ps1"))) as editor:
        try:
            found = ask(guest, probe.prober(KEY, NONCE, windows=True))
            child = int((guest.folder / "ran").read_text("ascii"))
            assert (found.standing, found.whole, found.number("group")) == (Standing.ALIVE, True, child)
            assert (found.stdout.strip(), found.stderr.strip()) == ("out", "err")
            below = [each for each in found.processes if each.depth]
            assert [each.pid for each in found.processes if not each.depth] == [child]
            assert len(below) == 1 and "sleep(301)" in below[0].command
            assert found.disks and found.number("memtotal") and found.silent_for() is not None
            ended = ask(guest, probe.releaser(KEY, NONCE, windows=True))
            assert (ended.number("group"), ended.facts.get("answered"), ended.facts.get("stayed")) == (child, "1", None)
            assert not is_alive(child) and not is_alive(below[0].pid) and is_alive(editor.pid)
        finally:
            editor.kill()
    answer, receipt = verified(delivery(read_text(guest.place() / "script.ps1")), started.answer())
    assert (answer.stdout, receipt.interrupted) == ("out\n", False)
    assert (receipt.exit_code, receipt.signal) == (None, signal.SIGKILL)
    assert ask(guest, probe.prober(KEY, NONCE, windows=True)).standing is Standing.ENDED


def test_nothing_is_ended_in_place_of_a_script_that_is_gone(guest: Guest) -> None:
    """A program that has the script in its command line, or the number of its process, is not the script."""
    order = delivery("'x'")
    started = begun(guest, "Start-Sleep 300")
    started.kill()
    with subprocess.Popen(sleeper(300, str(guest.place() / "script.ps1"))) as other:
        try:
            refused = ask(guest, probe.releaser(KEY, NONCE, windows=True))
            assert refused.standing is Standing.GONE and "refused" in refused.facts
            (guest.place() / "child").write_text(f"{other.pid} 630000000000000000", "ascii")
            refused = ask(guest, probe.releaser(KEY, NONCE, windows=True))
            assert "refused" in refused.facts and is_alive(other.pid)
        finally:
            other.kill()
    assert order.key == KEY


@plays("WMI")
def test_a_probe_needs_no_wmi(guest: Guest) -> None:
    """Where some classes fail and others never answer, all else comes in time, and the script's own process with it."""
    started = begun(guest, "'out'; Start-Sleep 300")
    try:
        wait_for(guest.place() / "stdout.live")
        guest.machine.file("wmi-fails").write_text("Win32_OperatingSystem\nWin32_Processor\n", "ascii")
        guest.machine.file("wmi-hangs").write_text("Win32_Process\nWin32_LogicalDisk\n", "ascii")
        before = time.monotonic()
        found = ask(guest, probe.prober(KEY, NONCE, windows=True))
        took = time.monotonic() - before
        assert (found.standing, found.whole, found.stdout.strip(), found.disks) == (Standing.ALIVE, True, "out", ())
        assert [each.pid for each in found.processes] == [int((guest.folder / "ran").read_text("ascii"))]
        assert took < stretched(300)  # and not the ten minutes that it hangs for
    finally:
        started.kill()


def test_a_probe_of_what_never_came(guest: Guest) -> None:
    """Of a delivery that is not there the machine is told all the same."""
    found = ask(guest, probe.prober(KEY, NONCE, windows=True))
    assert (found.standing, found.whole, found.processes, found.stdout) == (Standing.MISSING, True, (), "")


# -- restarts: many cases in one PowerShell, each in a runspace of its own, whose functions play what a boot is told by

SERVE = """
$played = @'
function Get-CimInstance {
    [CmdletBinding()] param($ClassName, $Filter)
    if ([IO.File]::ReadAllText("$env:FLEET_PLAYED_WINDOWS/wmi-fails")) { throw 'Provider load failure' }
    $boot = [double][IO.File]::ReadAllText("$env:FLEET_PLAYED_WINDOWS/boot")
    $start = New-Object DateTime 1970, 1, 1, 0, 0, 0, ([DateTimeKind]::Utc)
    New-Object PSObject -Property @{ LastBootUpTime = $start.AddSeconds($boot).ToLocalTime() }
}
function shutdown.exe {
    [IO.File]::AppendAllText("$env:FLEET_PLAYED_WINDOWS/shutdowns", "$args`n")
    $global:LASTEXITCODE = 0
}
'@
foreach ($case in ConvertFrom-Json ([IO.File]::ReadAllText($env:CASES))) {
    $env:EXPECT_BOOT_ID = $case.expected
    [IO.File]::WriteAllText("$env:FLEET_PLAYED_WINDOWS/boot", $case.boot)
    [IO.File]::WriteAllText("$env:FLEET_PLAYED_WINDOWS/wmi-fails", $case.fails)
    $shell = [PowerShell]::Create()
    $registry = $played + "`n" + 'function Get-ItemProperty { [CmdletBinding()] param($LiteralPath, $Path, $Name) '
    if ($case.count) { $registry += "@{ BootId = $($case.count) } }`n" } else { $registry += "Write-Error 'no such key' }`n" }
    'case ' + ($shell.AddScript($registry + [IO.File]::ReadAllText($env:TEXT)).Invoke() | Select-Object -Last 1)
}
"""
NOW = int(time.time())


def boot(began: object = "x", read: int = NOW, up: int = 0, counted: object = "x") -> str:
    return f"{counted}-{began}-{read}-{up}"


def answers(guest: Guest, text: str, cases: list[tuple[str, float, str, str]]) -> list[str]:
    """Run a script of a restart for each case: what is expected, the boot's time, the counter, the classes that fail."""
    file, script = guest.folder / "cases.json", guest.folder / "text.ps1"
    names = ("expected", "boot", "count", "fails")
    file.write_text(json.dumps([dict(zip(names, map(str, case), strict=True)) for case in cases]), "ascii")
    script.write_text(text, "ascii")
    done = guest.run(SERVE, CASES=str(file), TEXT=str(script))
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("case ")]
    return [f"{words[2].removeprefix('code=')} {words[3].removeprefix('state=')}" for words in found]


TICKS = int(time.monotonic())  # Python and .NET count from the boot by the same clock
START = NOW - TICKS
OLD = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(NOW - 5000))
SYSTEM = "Win32_OperatingSystem"
CASES = {
    "the same": (boot(NOW - 5000, NOW - 10, 4990), NOW - 5000, "", "", "same"),
    "a second later": (boot(NOW - 5000, NOW - 10, 4990), NOW - 4999, "", "", "same"),
    "half a millisecond less": (boot(NOW - 5000, NOW - 10, 4990), NOW - 5000.0005, "", "", "same"),
    "the clock was set by two minutes": (boot(START - 120, NOW - 130, TICKS - 10), START, "", "", "same"),
    "the clock was set back": (boot(NOW - 5000, NOW - 10, 4990), NOW - 8600, "", "", "same"),
    "another boot": (boot(NOW - 5000, NOW - 100, 4900), NOW - 30, "", "", "other"),
    "an old receipt": (OLD, NOW - 5000, "", "", "same"),
    "an old receipt, a second later": (OLD, NOW - 4999, "", "", "same"),
    "an old receipt, another boot": (OLD, NOW - 30, "", "", "other"),
    "no answer": (boot(NOW - 5000, NOW - 10, 4990), NOW - 5000, "", SYSTEM, "unknown"),
    "no answer, an old receipt": (OLD, NOW - 5000, "", SYSTEM, "unknown"),
    "no answer, but counted": (boot("x", NOW - 10, 0, 7), NOW - 5000, "7", SYSTEM, "same"),
    "no answer, and counted on": (boot("x", NOW - 10, 0, 7), NOW - 5000, "8", SYSTEM, "other"),
    "no answer, fewer ticks": (boot("x", NOW - 10, 10**9), NOW, "", SYSTEM, "other"),
    "counted, whatever the clock says": (boot(NOW - 5000, NOW - 4000, 0, 7), NOW - 30, "7", "", "same"),
    "nothing was known": (boot(), NOW - 5000, "", "", "unknown"),
    "none": ("-", NOW - 5000, "", "", "unknown"),
    "empty": ("", NOW - 5000, "", "", "unknown"),
    "nonsense": ("boot-1", NOW - 5000, "", "", "unknown"),
}


def test_a_restart_is_asked_for_in_the_same_boot_only(guest: Guest) -> None:
    """A moved clock, a silent WMI or an unknown boot never counts as a restart that was seen."""
    said = answers(guest, restart.ask(Shell.PWSH), [case[:4] for case in CASES.values()])
    right = {"same": "81 restart_scheduled", "other": "0 already_restarted", "unknown": "84 refused_boot_id_unknown"}
    assert dict(zip(CASES, said, strict=True)) == {name: right[case[4]] for name, case in CASES.items()}
    asked = guest.machine.file("shutdowns").read_text("utf-8").splitlines()
    assert len(asked) == said.count("81 restart_scheduled")
    assert set(asked) == {"/r /t 60 /d p:2:17 /c fleet: restart asked for by a maintenance run"}


def test_a_machine_is_back_in_another_boot_only(guest: Guest) -> None:
    """The same boot is not back, and neither is one that cannot be told."""
    said = answers(guest, restart.back(Shell.PWSH), [case[:4] for case in CASES.values()])
    right = {"same": "83 not_restarted", "other": "0 back", "unknown": "83 boot_id_unknown"}
    assert dict(zip(CASES, said, strict=True)) == {name: right[case[4]] for name, case in CASES.items()}


def test_a_clock_that_was_set_in_a_young_boot_is_no_restart(guest: Guest) -> None:
    """Where the boot's time leaps beyond the receipt and the ticks agree with it, asking refuses and proves nothing."""
    ticks = time.monotonic()
    leapt = boot(NOW - 90_000, NOW - 89_940, 60)
    cases = [(leapt, time.time() - ticks, "", "")]
    assert answers(guest, restart.ask(Shell.PWSH), cases) == ["84 refused_boot_id_unclear"]
    assert answers(guest, restart.back(Shell.PWSH), cases) == ["0 back"]  # and the time that it has been up decides


@plays("boots and shutdown.exe")
def test_a_receipt_tells_the_boot_that_a_restart_is_held_against(guest: Guest) -> None:
    """The whole way: the receipt's boot, asked in it, asked after it, and a WMI that hangs; each inside the wrapper."""
    guest.machine.file("boot").write_text(f"{time.time() - 4000:.3f}", "ascii")
    _, receipt = guest.receipt(delivery("'patched'"))
    expected = {"EXPECT_BOOT_ID": receipt.boot_id}
    first, _ = guest.receipt(delivery(restart.ask(Shell.PWSH), key="ask", env=expected))
    assert first.code == 81 and "state=restart_scheduled" in first.stdout
    guest.machine.file("boot").write_text(f"{time.time():.3f}", "ascii")
    second, _ = guest.receipt(delivery(restart.back(Shell.PWSH), key="back", env=expected))
    assert second.code == 0 and "state=back" in second.stdout
    guest.machine.file("wmi-hangs").write_text(SYSTEM, "ascii")
    third, _ = guest.receipt(delivery(restart.ask(Shell.PWSH), key="third", env=expected))
    assert third.code == 84 and "state=refused_boot_id_unknown" in third.stdout


# -- functions that the cases above do not reach


def test_a_powershell_that_is_a_dotnet_tool_is_started_as_one(guest: Guest) -> None:
    """``dotnet`` needs the library as its first word; a program with another name gives way to PowerShell's own."""
    text = script_text("tools", "claim", "run")
    text = (
        "$FleetEntry = 'x'\n"
        + text
        + "\n'/usr/bin/pwsh', 'C:/x/dotnet.exe', '/opt/host' | ForEach-Object { (Get-FleetShell $_) -join '|' }; $PSHOME"
    )
    first, second, third, home = guest.run(text).stdout.splitlines()
    own = next(path for name in ("powershell.exe", "pwsh.exe", "pwsh") if (path := Path(home, name)).exists())
    library = Path(home, "pwsh.dll")
    assert (first, second) == ("/usr/bin/pwsh", f"C:/x/dotnet.exe|{library}" if library.exists() else str(own))
    assert third == str(own)


def test_what_windows_only_has_compiles(guest: Guest) -> None:
    """The declarations of Windows' own calls are C# that a PowerShell takes; they can only be called on Windows."""
    text = script_text("run")
    declared = text.partition("-MemberDefinition @'\n")[2].partition("\n'@")[0]
    said = guest.run(
        f"Add-Type -Namespace Fleet -Name Native -MemberDefinition @'\n{declared}\n'@\n[Fleet.Native].GetMethods().Name"
    )
    assert "TerminateJobObject" in said.stdout
