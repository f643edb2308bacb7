"""Scripted guests: rules, shares, and wrapped scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from fleet.lab.world.scripted import Opened
from tests.lab.desk import Desk, spec


@dataclass(frozen=True)
class Wrapped:
    """A script in a plain envelope: WRAPPED <key> <script>."""

    key: str
    script: str
    env: Mapping[str, str]
    limit: float

    def seal(
        self,
        *,
        exit_code: int | None,
        stdout: bytes,
        stderr: bytes,
        boot_id: str,
        started: float,
        ended: float,
        replayed: bool,
        timed_out: bool,
    ) -> tuple[int, bytes, bytes]:
        """Say everything in one line."""
        said = f"{'timed out' if timed_out else exit_code} {boot_id} {ended - started:g} {replayed} {self.env.get('A', '')}\n"
        return 0, stdout + said.encode(), stderr


@dataclass(frozen=True)
class PlainEnvelope:
    """Opens such envelopes, of wrappers with this limit."""

    limit: float = 3600.0

    def open(self, delivered: str, environment: Mapping[str, str]) -> Opened | None:
        """Open one."""
        if not delivered.startswith("WRAPPED "):
            return None
        _, key, script = delivered.split(" ", 2)
        return Wrapped(key, script, environment, self.limit)

    def asks_for(self, delivered: str) -> str | None:
        """None of them reads what another kept."""
        return None


RULES = [
    {"when": r"uptime\b", "stdout": "up {name} {n} {os} {location} {unknown}\n"},
    {"when": "", "stdout": "other", "exit": 3, "duration": 10},
]


def test_the_first_rule_that_fits_answers() -> None:
    """Rules are searched in order; known words are filled in and other braces left alone."""
    desk = Desk(spec({"name": "web{n:02}", "start": 7, "rules": RULES[:1]}, rules=RULES[1:]))
    desk.put("a", "uptime -p", vm="web07")
    desk.put("b", "date", vm="web07")
    desk.wait(120)
    first, second = (desk.command(name, "web07")["instanceView"] for name in "ab")
    assert first["output"] == "up web07 7 linux westeurope {unknown}\n"
    assert (second["output"], second["exitCode"]) == ("other", 3)


def test_a_share_is_exact_and_decided_by_the_seed() -> None:
    """A share of 10% of 50 machines is 5 machines, the same ones for the same seed."""
    vms = {"name": "vm{n}", "count": 50, "rules": [{"share": "10%", "exit": 3}, {"stdout": "fine"}]}

    def failing(seed: int) -> set[str]:
        desk = Desk(spec(vms, seed=seed))
        names = [f"vm{n}" for n in range(1, 51)]
        for name in names:
            desk.put(vm=name)
        desk.wait(120)
        return {name for name in names if desk.command(vm=name)["instanceView"]["exitCode"] == 3}

    assert len(failing(1)) == 5
    assert failing(1) == failing(1) != failing(2)


def test_a_wrapped_script_runs_once_for_its_key() -> None:
    """Rules see the inner script; a second delivery of a key answers the kept result and does not run."""
    desk = Desk(spec({"name": "vm1", "rules": RULES}), PlainEnvelope())
    for name in ("a", "b"):
        desk.put(name, "WRAPPED k1 uptime", parameters=[{"name": "A", "value": "1"}])
        desk.wait(120)
    first, second = (desk.command(name)["instanceView"] for name in "ab")
    boot = desk.vm().boot_id
    up = "up vm1 1 linux westeurope {unknown}\n"
    assert (first["output"], first["exitCode"]) == (f"{up}0 {boot} 1 False 1\n", 0)
    assert second["output"] == f"{up}0 {boot} 1 True 1\n"
    assert desk.plane.life.counts[desk.vm().id] == 1


def test_a_second_delivery_waits_for_the_first() -> None:
    """A key delivered again while its script runs ends when the first does."""
    desk = Desk(spec({"name": "vm1", "rules": RULES}, speed=1.0), PlainEnvelope())
    desk.put("a", "WRAPPED k2 sleep")
    desk.wait(5)
    desk.put("b", "WRAPPED k2 sleep")
    desk.wait(120)
    first, second = (desk.command(name)["instanceView"] for name in "ab")
    assert first["endTime"] <= second["endTime"]
    assert "True" in second["output"] and "False" in first["output"]
    assert desk.plane.life.counts[desk.vm().id] == 1


def test_a_wrapper_ends_what_takes_too_long() -> None:
    """The script is over at the wrapper's own limit, with what it had printed by then, for each delivery alike."""
    rules = [{"when": "", "stdout": "a\nb\nc\nd\n", "duration": 100}]
    envelope = PlainEnvelope(limit=50.0)
    desk = Desk(spec({"name": "vm1", "rules": rules}, speed=1.0), envelope)
    for name in ("a", "b"):
        desk.put(name, "WRAPPED k3 sleep")
        desk.wait(200)
    boot = desk.vm().boot_id
    outputs = [desk.command(name)["instanceView"]["output"] for name in "ab"]
    assert outputs == [f"a\nb\ntimed out {boot} 50 {replayed} \n" for replayed in (False, True)]


@pytest.mark.parametrize(
    ("code", "shown"),
    [(3010, 3010), (1641, 1641), (2359302, 2359302), (-1073741819, -1073741819), (0xC0000005, -1073741819)],
)
def test_windows_has_exit_codes_of_32_bits(code: int, shown: int) -> None:
    """A Windows guest's rule takes any of them, and the view has it as the signed number that the API has a place for."""
    desk = Desk(spec({"name": "vm1", "os": "windows", "rules": [{"exit": code}]}))
    desk.put()
    desk.wait(120)
    assert desk.command()["instanceView"]["exitCode"] == shown


@pytest.mark.parametrize("code", [3010, -1, 256])
def test_linux_has_exit_codes_of_eight_bits(code: int) -> None:
    """A class of Linux guests is refused with another; a rule of the whole lab leaves its low bits there."""
    with pytest.raises(ValueError, match=f"exit {code} is for Windows guests"):
        spec({"name": "vm1", "rules": [{"exit": code}]})
    desk = Desk(spec(rules=[{"exit": code}]))
    desk.put()
    desk.wait(120)
    assert desk.command()["instanceView"]["exitCode"] == code & 0xFF
