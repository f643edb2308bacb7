"""Windows guests of the lab over the wire: scripts really run in a PowerShell, and reach nothing but their guest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fleet.guest.delivery import Delivery, Shell, script_digest
from fleet.guest.receipt import Reading, read, verify
from fleet.guest.wrapper import wrap
from fleet.lab.arm.server import serve
from fleet.lab.guests.windows.powershell import VARIABLE
from tests.lab.desk import spec
from tests.lab.test_server import VM, client
from tests.lab.test_server import finished as polled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("found"),
]
_VERSION = "api-version=2025-04-01"
_LIMIT = 180


@pytest.fixture
def found(pwsh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the lab find PowerShell."""
    monkeypatch.setenv(VARIABLE, pwsh)


class Wire:
    """A client that knows nothing of Fleet."""

    def __init__(self, lab: Any, session: Any) -> None:
        self.lab, self.session = lab, session
        self.machine = next(iter(lab._plane.world.machines()))
        self.turn = 0

    async def put(self, script: str, vm: str = "vm1", source: dict[str, str] | None = None, **properties: Any) -> str:
        """Write a managed command, and return its path."""
        self.turn += 1
        body = {
            "location": "westeurope",
            "properties": {"source": {"script": script, **(source or {})}, "asyncExecution": True, **properties},
        }
        path = f"{VM}/{vm}/runCommands/c{self.turn}"
        async with self.session.put(f"{path}?{_VERSION}", json=body) as answer:
            assert answer.status == 201, await answer.text()
        return path

    async def view(self, path: str) -> Any:
        async with self.session.get(f"{path}?$expand=instanceView&{_VERSION}") as answer:
            return (await answer.json())["properties"]["instanceView"]

    async def until(self, path: str, enough: Callable[[Any], bool]) -> Any:
        """Read a managed command's view until it is enough."""
        async with asyncio.timeout(_LIMIT):
            while not enough(seen := await self.view(path)):  # noqa: ASYNC110  another process tells nobody
                await asyncio.sleep(0.1)
        return seen

    async def ended(self, path: str) -> Any:
        """Wait for a managed command's end."""
        return await self.until(path, lambda view: view["executionState"] not in ("Unknown", "Running"))

    async def run(self, script: str, vm: str = "vm1", **more: Any) -> Any:
        """Run a managed command to its end."""
        return await self.ended(await self.put(script, vm, **more))

    async def said(self, path: str, text: str) -> None:
        """Wait until a running command has printed something."""
        await self.until(path, lambda view: text in view["output"])

    async def act(self, script: str, **values: str) -> str:
        """Start an action, and return its operation."""
        given = [{"name": name, "value": value} for name, value in values.items()]
        body = {"commandId": "RunPowerShellScript", "script": script.split("\n"), "parameters": given}
        async with self.session.post(f"{VM}/vm1/runCommand?{_VERSION}", json=body) as answer:
            assert answer.status == 202, await answer.text()
            return str(answer.headers["Azure-AsyncOperation"])

    async def acted(self, operation: str) -> list[str]:
        """Wait for an action's end, and return its two streams."""
        async with asyncio.timeout(_LIMIT):
            while True:
                try:
                    state: Any = await polled(self.session, operation)
                except TimeoutError:
                    continue
                return [each["message"] for each in state["properties"]["output"]["value"]]


@asynccontextmanager
async def served(count: int = 1, **more: Any) -> AsyncIterator[Wire]:
    """Serve a lab of Windows VMs with a PowerShell."""
    vms = {"name": "vm{n}", "count": count, "os": "windows", "guest": "sandbox", **more}
    async with serve(spec(vms, speed=100.0)) as lab, client(lab) as session:
        (note,) = lab.notes
        assert note.startswith("Windows guests run scripts by PowerShell 7."), note
        yield Wire(lab, session)


@pytest.mark.asyncio
async def test_exit_codes_have_32_bits() -> None:
    """Every exit code arrives whole, from the script's exit and from .NET's. Beyond 32 bits PowerShell itself ends with 0."""
    codes = {
        "exit 0": 0,
        "exit 3": 3,
        "exit 3010": 3010,
        "exit -1073741819": -1073741819,
        "exit 2147942405": 0,
        "[Environment]::Exit(-2147024891)": -2147024891,
        "throw 'no'": 1,
        "& /bin/false; 'went on'": 0,
        "$null = (": 1,
    }
    async with served() as wire:
        paths = [await wire.put(script) for script in codes]
        assert [(await wire.ended(path))["exitCode"] for path in paths] == list(codes.values())


@pytest.mark.asyncio
async def test_a_script_is_started_as_the_handlers_do() -> None:
    """By both APIs parameters come by their names, streams in UTF-8, cut at 4,096 bytes. Only PowerShell 7 has colours."""
    script = """param([string]$second, [string]$First)
"$first|$second|$env:COMPUTERNAME|$env:ProgramData|$(Get-Location)|h\u00e9 \u65e5"
(Get-Process -Id $PID).Path
[Console]::Error.WriteLine('x' * 5000 + 'end')
Write-Error -Message 'red'
"""
    parameters = [{"name": "First", "value": "a b"}, {"name": "second", "value": "-c"}]
    async with served() as wire:
        operation = await wire.act(script, First="a b", second="-c")
        plain = await wire.put(script, parameters=parameters)
        seven = await wire.put(script, parameters=parameters, source={"scriptShell": "Powershell7"})
        out, err = await wire.acted(operation)
        first, program = out.splitlines()
        assert first.startswith("a b|-c|VM1|/c/ProgramData|/c/Packages/Plugins/") and first.endswith("|h\u00e9 \u65e5")
        assert program.endswith("/powershell.exe")
        assert len(err) == 4096 and "\x1b" not in err and "red" in err
        view, other = await wire.ended(plain), await wire.ended(seven)
        assert view["output"].startswith("a b|-c|VM1|") and len(view["error"]) == 4096 and "\x1b" not in view["error"]
        assert other["output"].splitlines()[1].endswith("/pwsh.exe") and "\x1b[" in other["error"]


@pytest.mark.asyncio
async def test_guests_do_not_see_each_other() -> None:
    """Files, processes and services of one guest are not there for another. What a script changes is there for the next."""
    keep = "Set-Content $env:ProgramData/mine kept; Start-Service Spooler; Start-Sleep 600 # mark"
    look = (
        "'[{0}]' -f (Get-Content -ErrorAction Ignore $env:ProgramData/mine); (Get-Service Spooler).Status; hostname\n"
    )
    look += "(Get-CimInstance Win32_Process | Where-Object CommandLine -like '*c1*script.ps1*' | Measure-Object).Count -gt 0"
    services = {"Spooler": {"status": "Stopped"}}
    async with served(2, services=services) as wire:
        await wire.put(keep)
        async with asyncio.timeout(_LIMIT):
            while True:
                own = (await wire.run(look))["output"].split()
                if own[:2] == ["[kept]", "Running"]:
                    break
        other = (await wire.run(look, "vm2"))["output"].split()
    assert own == ["[kept]", "Running", "vm1", "True"]
    assert other == ["[]", "Stopped", "vm2", "False"]


@pytest.mark.asyncio
async def test_a_time_limit_and_a_deletion_end_the_whole_tree() -> None:
    """What ran out of time ends with -1, what is deleted is gone, and none of their processes is left."""
    hangs = "Start-Process sleep 4321; 'ready'; & sleep 4321"
    count = "(Get-Process sleep -ErrorAction Ignore | Measure-Object).Count"
    async with served() as wire:
        waits = await wire.put("Start-Sleep 600")
        limited = await wire.put(hangs, timeoutInSeconds=8)
        deleted = await wire.put(hangs)
        await wire.said(deleted, "ready")
        async with wire.session.delete(f"{deleted}?{_VERSION}") as answer:
            assert answer.status == 202
        end = await wire.ended(limited)
        assert (end["executionState"], end["exitCode"]) == ("Failed", -1)
        assert (await wire.run(count))["output"].strip() == "0"
        assert (await wire.view(waits))["executionState"] == "Running"


@pytest.mark.asyncio
async def test_a_run_as_user() -> None:
    """A script runs as the user that is named; one that is not there is the handler's own failure."""
    script = "$env:USERNAME; $env:USERPROFILE; [Security.Principal.WindowsIdentity]::GetCurrent().User.Value"
    async with served() as wire:
        known = await wire.run(script, runAsUser="azureuser", runAsPassword="x")
        unknown = await wire.run(script, runAsUser="nobody-here", runAsPassword="x")
    assert known["output"].split()[:2] == ["azureuser", "/c/Users/azureuser"]
    assert known["output"].split()[2].endswith("-1000")
    assert unknown["exitCode"] == -102


UPDATES = {
    "offered": {
        "KB5000001": {"restart": "after", "takes": 0},
        "KB5000002": {"restart": "after", "takes": 0, "undone": True},
        "KB5000003": {"kind": "definitions", "takes": 0, "comes_again": True},
        "KB5000004": {"takes": 0, "fails": "0x80070643"},
        "KB5000005": {"chance": 0},
    },
    "hotfixes": ["KB4000000"],
}
LOOK = r"""
$session = New-Object -ComObject Microsoft.Update.Session
$found = $session.CreateUpdateSearcher().Search('IsInstalled=0').Updates
$key = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters'
$flag = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
$system = Get-CimInstance Win32_OperatingSystem
@{
    updates = @($found | ForEach-Object { $_.KBArticleIDs.Item(0) })
    boots = (Get-ItemProperty -LiteralPath $key -Name BootId).BootId
    up = [int]([DateTime]::UtcNow - $system.LastBootUpTime.ToUniversalTime()).TotalSeconds
    ticks = [int]([System.Diagnostics.Stopwatch]::GetTimestamp() / [System.Diagnostics.Stopwatch]::Frequency)
    wanted = (New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired
    flag = Test-Path $flag
    fixes = @((Get-HotFix).HotFixID)
    disk = (Get-CimInstance Win32_LogicalDisk -Filter "DeviceID='E:'").Size
    spooler = (Get-Service Spooler).Status
} | ConvertTo-Json -Compress
"""
RESTARTS = """
$installer = $session.CreateUpdateInstaller()
$installer.Updates = $found
Write-Output (@(0..3 | ForEach-Object { $installer.Install().GetUpdateResult($_).ResultCode }) -join '')
Stop-Service Spooler
shutdown.exe /r /t 5 /d p:2:17 /c 'a test'
"first $LASTEXITCODE"
shutdown.exe /r /t 5
"second $LASTEXITCODE"
Start-Sleep 600
'never'
"""


@pytest.mark.asyncio
async def test_a_restart_ends_the_script_and_the_next_boot_shows_it() -> None:
    """The guest restarts while the script that asked still runs, which ends without a word. Then every measure shows another
    boot, updates are complete or undone, what comes again is offered again, and services run.
    """
    more = {"updates": UPDATES, "disks": {"E:": {"size_gib": 2}}, "services": {"Spooler": {}}}
    async with served(**more) as wire:
        before = json.loads((await wire.run(LOOK))["output"])
        assert sorted(before["updates"]) == ["5000001", "5000002", "5000003", "5000004"]
        assert (before["disk"], before["fixes"], before["spooler"]) == (2 * 2**30, ["KB4000000"], "Running")
        path = await wire.put(LOOK + RESTARTS)
        await wire.said(path, "second 1190")
        assert "first 0" in (await wire.view(path))["output"]
        await wire.until(path, lambda _: wire.machine.boots > 0)
        after = json.loads((await wire.run(LOOK))["output"])
        cut = await wire.view(path)
    assert (cut["executionState"], "never" in cut["output"]) == ("Running", False)
    assert (after["boots"], after["wanted"], after["flag"]) == (before["boots"] + 1, False, False)
    assert after["up"] < _LIMIT and after["ticks"] < _LIMIT
    assert sorted(after["updates"]) == ["5000002", "5000003", "5000004"]
    assert after["spooler"] == "Running"


@pytest.mark.asyncio
async def test_a_restart_can_be_taken_back() -> None:
    """A restart that is aborted does not come, and one that is not scheduled cannot be aborted."""
    script = (
        "shutdown.exe /r /t 2; shutdown.exe /a; $LASTEXITCODE; shutdown.exe /a 2>$null; $LASTEXITCODE; Start-Sleep 4"
    )
    async with served() as wire:
        done = await wire.run(script)
        assert (done["output"].split(), wire.machine.boots) == (["0", "1116"], 0)


def delivery(script: str, nonce: str) -> Delivery:
    """A delivery of a script, as Fleet sends it."""
    return Delivery(script, Shell.PWSH, "run1.step.vm1", nonce, 120.0)


async def receipt(wire: Wire, path: str, order: Delivery) -> Reading:
    """Wait for a delivery's end and read what its wrapper printed."""
    view = await wire.ended(path)
    return read(view["output"], view["error"], order.nonce)


@pytest.mark.asyncio
async def test_a_wrapped_script_runs_once() -> None:
    """Its receipt has the whole exit code and proves the streams; a second delivery returns the kept answer."""
    script, code = "'h\u00e9 \u65e5'; [Console]::Error.Write('e'); exit -1073741819", -1073741819
    first, second = delivery(script, "0123456789abcdef"), delivery(script, "fedcba9876543210")
    async with served() as wire:
        out, err = await wire.acted(await wire.act(wrap(first)))
        reading = read(out, err, first.nonce)
        again = await receipt(wire, await wire.put(wrap(second)), second)
    assert reading.receipt is not None and again.receipt is not None, (out, err)
    assert verify(reading, nonce=first.nonce, digest=script_digest(first)).verified
    assert (reading.receipt.exit_code, reading.receipt.replayed) == (code, False)
    assert (again.receipt.exit_code, again.receipt.replayed, again.stdout) == (code, True, reading.stdout)
    assert (reading.stdout, reading.stderr) == ("h\u00e9 \u65e5\n", "e")


@pytest.mark.asyncio
async def test_a_script_that_a_restart_cut_off_is_not_run_again() -> None:
    """After the restart a second delivery says that the first one was cut off, with what that had printed until then."""
    script = "'before'; shutdown.exe /r /t 2; Start-Sleep 600; 'never'"
    first, second = delivery(script, "0123456789abcdef"), delivery(script, "fedcba9876543210")
    async with served() as wire:
        path = await wire.put(wrap(first))
        await wire.until(path, lambda _: wire.machine.boots > 0)
        again = await receipt(wire, await wire.put(wrap(second)), second)
        assert (wire.machine.boots, (await wire.view(path))["executionState"]) == (1, "Running")
    assert again.receipt is not None
    assert (again.receipt.interrupted, again.receipt.exit_code, again.stdout) == (True, None, "before\n")
