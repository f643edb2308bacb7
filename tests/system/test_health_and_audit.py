"""The shipped playbooks that look: what they find a VM at fault for, and what never is a fault."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.lab.guests.disks import table
from fleet.lab.world.machine_spec import DiskSpec
from tests.lab.patching import Guest, guest
from tests.system.cli import SHIPPED, Machine
from tests.system.test_patching import sandboxed

HEALTH = (SHIPPED / "scripts" / "linux-health.sh").read_text(encoding="utf-8")
AUDIT = (SHIPPED / "scripts" / "config-audit.sh").read_text(encoding="utf-8")
RESTART = (SHIPPED / "scripts" / "restart-service.sh").read_text(encoding="utf-8")
SHELLS = ["dash", "bash --posix", "busybox sh"]
LAB = """\
apiVersion: fleet/v1
kind: Lab
speed: 60
subscriptions:
  - name: one
    groups:
      - name: rg
        vms:
          - {name: "plain{n}", count: 3}
          - {name: crowded, disks: {/: {used: 97%}}}
          - {name: data, disks: {/data: {size_gib: 512, used: 91%}}}
"""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep that many processes at work, for a minute at most."""
    spin = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    started = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_crowded_disk_is_a_finding_and_a_busy_host_is_none(machine: Machine, tmp_path: Path) -> None:
    """With three processes at work on the host only the guests whose class says that a disk is crowded fail, by name; every
    other one succeeds, and the run ends with 3.
    """
    lab = tmp_path / "lab.yaml"
    lab.write_text(LAB, encoding="utf-8")
    with busy(3):
        done = machine.run("run", SHIPPED / "linux-health.yaml", f"--lab={lab}", "-y", "-o", "json")
    rows = {row["name"]: row for row in done.report["jobs"]}
    assert done.code == 3, done.err
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {"crowded", "data"}
    assert {row["status"] for name, row in rows.items() if name.startswith("plain")} == {"succeeded"}
    assert rows["crowded"]["facts"]["finding"] == "/ is 97 % full"
    assert rows["data"]["facts"]["finding"] == "/data is 91 % full"
    lenient = machine.run(
        *("run", SHIPPED / "linux-health.yaml", f"--lab={lab}", "-y", "-o", "json", "-e", "max_used=98"),
    )
    assert lenient.code == 0, lenient.err


def test_the_table_of_disks_says_what_the_class_says() -> None:
    """The root is there if it is left out, and a share is never rounded up."""
    rows = [line.split() for line in table({"/data": DiskSpec(size_gib=1, used=0.97)}).splitlines()]
    assert [row[4] for row in rows] == ["/", "/data"]
    assert all(-(-int(row[3]) * 100 // int(row[2])) == used for row, used in zip(rows, (40, 97), strict=True))


@sandboxed
async def test_df_is_played_in_the_forms_that_scripts_ask_for() -> None:
    """POSIX, human and chosen columns, by file or all; what is really mounted in the guest is told as it is; a missing
    file fails.
    """
    async with guest("debian", {}) as vm:
        assert await vm.says("df -P -k /var | awk 'NR == 2 {print $2, $3, $5, $6}'") == "31457280 12582912 40% /\n"
        assert await vm.says("df -hT / | awk 'NR == 2 {print $2, $3, $6}'") == "ext4 30G 40%\n"
        assert (await vm.says("df --output=pcent /")).split() == ["Use%", "40%"]
        assert (
            await vm.says("mount -t tmpfs -o size=4m t /mnt; df -P -m /mnt | awk 'NR == 2 {print $2, $6}'")
            == "4 /mnt\n"
        )
        assert (await vm.run("df /nowhere")).exit_code == 1


async def health(vm: Guest, before: str = "true", **given: str) -> list[str]:
    """Run the script, and return its findings; their number must be right."""
    result = await vm.run(f"{before}\n{HEALTH}", **given)
    lines = result.stdout.decode().splitlines()
    found = [line.removeprefix("finding: ") for line in lines if line.startswith("finding: ")]
    assert (result.exit_code, f"findings: {len(found)}" in lines) == (0, True), (lines, result.stderr)
    return found


def systemctl(*cases: str) -> str:
    """Return shell text that puts a systemctl into the guest."""
    text = "\n".join(cases)
    return (
        "mkdir -p /run/systemd/system; cat >/opt/lab/sbin/systemctl <<'END'\n#!/bin/sh\n"
        f'case "$1" in\n{text}\nesac\nEND\nchmod +x /opt/lab/sbin/systemctl'
    )


@sandboxed
async def test_what_a_vm_is_unwell_for() -> None:
    """Failed units, a pending restart older than the limit, a read-only root; and what cannot be found out is a
    finding too.
    """
    async with guest("debian", {}) as vm:
        assert await health(vm) == []
        assert await health(vm, systemctl("list-units) echo 'web.service loaded failed failed' ;;")) == [
            "failed units: web.service"
        ]
        assert await health(vm, systemctl("list-units) exit 1 ;;")) == ["systemd does not say which units failed"]
        assert await health(vm, systemctl("list-units) ;;") + "; touch /run/reboot-required") == []
        assert await health(vm, MAX_RESTART="-1") == ["a restart has been pending for 0 days"]
        old = await health(vm, "touch -d '20 days ago' /run/reboot-required")
        assert old == ["a restart has been pending for 20 days"]
        assert await health(vm, "rm /run/reboot-required; mount -o remount,bind,ro /") == ["/ is read-only"]
    async with guest("debian", {}) as vm:
        broken = "printf '#!/bin/sh\\nexit 1\\n' >/opt/lab/sbin/df"
        assert await health(vm, broken) == ["df does not say how full the disks are", "df does not say how full / is"]


SSHD = [
    pytest.param("PermitRootLogin no\nPasswordAuthentication no\n", "", [], id="as wanted"),
    pytest.param(
        "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\nPasswordAuthentication no\n",
        "PasswordAuthentication yes\n",
        ["ssh.password_authentication"],
        id="a drop-in that is read first",
    ),
    pytest.param(
        "PermitRootLogin no\nPasswordAuthentication no\nInclude /etc/ssh/sshd_config.d/*.conf\n",
        "PasswordAuthentication yes\n",
        [],
        id="a drop-in that is read last",
    ),
    pytest.param(
        "Include sshd_config.d/*.conf\nPermitRootLogin no\nPasswordAuthentication no\n",
        "PermitRootLogin=yes\n",
        ["ssh.permit_root_login"],
        id="an include relative to /etc/ssh, and an equals sign",
    ),
    pytest.param(
        'permitrootlogin = "yes"\nPasswordAuthentication no # never\n',
        "",
        ["ssh.permit_root_login"],
        id="quotes, case, comment",
    ),
    pytest.param("PermitRootLogin NO\r\nPasswordAuthentication\tno\r\n", "", [], id="carriage returns and tabs"),
    pytest.param(
        "PermitRootLogin no\nPermitRootLogin yes\nPasswordAuthentication no\nPasswordAuthentication yes\n",
        "",
        [],
        id="first wins",
    ),
    pytest.param(
        "PermitRootLogin no\nPasswordAuthentication no\nMatch Address 10.0.0.0/8\n  PasswordAuthentication yes\n",
        "",
        ["ssh.password_authentication"],
        id="a Match block for others than asked",
    ),
    pytest.param(
        "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\nPermitRootLogin no\n",
        "Match User root\n  PermitRootLogin yes\n",
        ["ssh.permit_root_login"],
        id="a Match block that ends with its file",
    ),
    pytest.param(
        "# PermitRootLogin no\nPasswordAuthentication no\n", "", ["ssh.permit_root_login"], id="a comment is no setting"
    ),
    pytest.param("", "", ["ssh.permit_root_login", "ssh.password_authentication"], id="sshd's own defaults"),
]


async def audit(vm: Guest, script: str = AUDIT, **given: str) -> tuple[int, dict[str, str], str]:
    """Run the script; return its exit code, its facts, and all that it printed."""
    result = await vm.run(script, **given)
    text = result.stdout.decode()
    assert result.stderr == b""
    return result.exit_code, dict(line.split("=", 1) for line in text.splitlines() if "=" in line.split(" ")[0]), text


@sandboxed
@pytest.mark.parametrize(("config", "drop_in", "failed"), SSHD)
async def test_sshd_is_read_as_sshd_reads_it(config: str, drop_in: str, failed: list[str]) -> None:
    """Includes in their place, the first value, ``=``, quotes, comments and every Match block decide, under every shell."""
    async with guest("debian", {}) as vm:
        root = await vm.root()
        (root / "etc/ssh/sshd_config").write_bytes(config.encode())
        (root / "etc/ssh/sshd_config.d").mkdir()
        (root / "etc/ssh/sshd_config.d/50-cloud-init.conf").write_text(drop_in, encoding="ascii")
        await vm.own("etc/ssh")
        for shell in SHELLS:
            if (await vm.run(f"command -v {shell.split()[0]}")).exit_code:
                continue
            code, facts, text = await audit(vm, f"exec {shell} -s <<'THE_END_OF_IT'\n{AUDIT}\nTHE_END_OF_IT\n")
            assert (code, facts["failed"].split(",")) == (80 if failed else 0, failed or ["none"]), text
            assert (facts["deviations"], facts["unknown"]) == (str(len(failed)), "0")


@sandboxed
async def test_sshd_itself_is_asked_where_it_answers() -> None:
    """What sshd says goes before its files, in any case; where it refuses, the files are read; an older word means the
    same.
    """
    answers = "printf 'PermitRootLogin without-password\\nPASSWORDAUTHENTICATION yes\\n'"
    fake = "printf '#!/bin/sh\\n%s\\n' \"{}\" >/opt/lab/sbin/sshd; chmod +x /opt/lab/sbin/sshd"
    async with guest("debian", {}) as vm:
        await vm.run("cat >/opt/lab/sbin/sshd <<'END'\n#!/bin/sh\n" + answers + "\nEND\nchmod +x /opt/lab/sbin/sshd")
        code, facts, text = await audit(vm, ROOT_LOGIN="prohibit-password")
        assert (code, facts["failed"]) == (80, "ssh.password_authentication"), text
        await vm.run(fake.format("exit 1"))
        code, facts, text = await audit(vm)
        assert (code, facts["failed"]) == (0, "none"), text


@sandboxed
async def test_what_cannot_be_found_out_is_not_a_pass() -> None:
    """A missing file or program, or a file that cannot be read, is UNKNOWN and fails the VM; no ssh server at all is
    no matter.
    """
    async with guest("debian", {}) as vm:
        await vm.run("rm /etc/shadow")
        code, facts, text = await audit(vm)
        assert (code, facts["unknown"], facts["failed"]) == (80, "1", "shadow.world_readable")
        assert "UNKNOWN shadow.world_readable" in text
        await vm.run(
            "touch /etc/shadow; printf '#!/bin/sh\\nexit 1\\n' >/opt/lab/sbin/stat; chmod +x /opt/lab/sbin/stat"
        )
        code, facts, _ = await audit(vm)
        assert (code, facts["failed"]) == (80, "passwd.mode,shadow.world_readable")
        await vm.run("rm /opt/lab/sbin/stat; chmod 644 /etc/shadow")
        assert (await audit(vm))[1]["failed"] == "shadow.world_readable"
        await vm.run("chmod 640 /etc/shadow; rm -r /etc/ssh")
        code, facts, text = await audit(vm)
        if "SKIP ssh" in text:  # a host with a sshd of its own has one in its guests
            assert (code, facts["looked"]) == (0, "3")


@pytest.mark.slow
@pytest.mark.sandbox
def test_an_audit_inspects_every_vm_and_ends_with_three(machine: Machine, tmp_path: Path) -> None:
    """Where each VM deviates, each has a row with its deviations as facts, none is left out, and the exit code is 3."""
    lab, play = tmp_path / "lab.yaml", SHIPPED / "config-audit.yaml"
    lab.write_text(LAB, encoding="utf-8")
    done = machine.run("run", play, f"--lab={lab}", "-y", "-o", "json", "-e", "root_login=prohibit-password")
    rows = done.report["jobs"]
    assert done.code == 3, done.err
    assert {(row["status"], row["facts"]["failed"]) for row in rows} == {("failed", "ssh.permit_root_login")}
    assert len(rows) == 5
    done = machine.run("run", play, f"--lab={lab}", "-y", "-o", "json")
    assert done.code == 0, done.err


@sandboxed
@pytest.mark.parametrize(
    ("active", "shows", "code"),
    [
        ("true", "echo NRestarts=0", 0),
        ("[ ! -e /run/down ] || exit 3; (sleep 0.5; touch /run/down) >/dev/null 2>&1 &", "echo NRestarts=0", 1),
        ("true", "date +NRestarts=%N", 1),
        ("exit 3", "echo NRestarts=0", 1),
    ],
    ids=["stays up", "dies after half a second", "is started again and again", "never comes up"],
)
async def test_a_service_must_stay_up(active: str, shows: str, code: int) -> None:
    """One look is not enough: a service that dies or restarts within the seconds after it came up has failed."""
    async with guest("debian", {}) as vm:
        await vm.run(systemctl(f"is-active) {active} ;;", f"show) {shows} ;;"))
        done = await vm.run(RESTART, SERVICE="web", WAIT="2", STABLE="2")
        assert (done.exit_code, done.stdout == b"web: active\n") == (code, code == 0), done.stderr


WINDOWS_LAB = """\
apiVersion: fleet/v1
kind: Lab
speed: 60
rules:
  - {when: Restarts one Windows service, stdout: "Zabbix Agent: running\\n"}
  - {when: The state of a Windows machine, stdout: "system_used_percent: 95\\nfinding: C is full\\nfindings: 1\\n"}
subscriptions:
  - name: one
    groups:
      - {name: rg, vms: [{name: "win{n}", os: windows, count: 2}]}
"""


def test_a_service_of_windows_vms_is_restarted_by_its_own_script(machine: Machine, tmp_path: Path) -> None:
    """A name may have spaces in it; the step for Linux is left out on Windows VMs, as the playbook means it."""
    lab = tmp_path / "lab.yaml"
    lab.write_text(WINDOWS_LAB, encoding="utf-8")
    play = quickened_restart(tmp_path)
    done = machine.run("run", play, f"--lab={lab}", "-y", "-o", "json", "-e", "service=Zabbix Agent")
    assert done.code == 0, done.err
    rows = {(row["name"], row["step"]): row["status"] for row in done.report["jobs"]}
    assert {status for (_, step), status in rows.items() if step == "restart"} == {"skipped"}
    assert {status for (_, step), status in rows.items() if step == "restart-windows"} == {"succeeded"}


def quickened_restart(folder: Path) -> Path:
    """The shipped playbook in one wave, without its soak."""
    text = (SHIPPED / "rolling-restart.yaml").read_text(encoding="utf-8")
    for slow, quick in (("soak: 2m", "soak: 0s"), ("waves: [canary, 10%, 50%, 100%]", "waves: [100%]")):
        assert slow in text
        text = text.replace(slow, quick)
    shutil.copytree(SHIPPED / "scripts", folder / "scripts")
    play = folder / "rolling-restart.yaml"
    play.write_text(text, encoding="utf-8")
    return play


def test_a_finding_on_windows_vms_fails_them_by_name(machine: Machine, tmp_path: Path) -> None:
    """Each VM has its row, its facts and its first finding, and the exit code is 3."""
    lab = tmp_path / "lab.yaml"
    lab.write_text(WINDOWS_LAB, encoding="utf-8")
    done = machine.run("run", SHIPPED / "windows-health.yaml", f"--lab={lab}", "-y", "-o", "json")
    assert done.code == 3, done.err
    found = [(row["status"], row["facts"]["finding"], row["facts"]["system_used"]) for row in done.report["jobs"]]
    assert found == [("failed", "C is full", "95")] * 2
