"""Command lines that ask for nothing, or for something that makes no sense."""

from __future__ import annotations

import click
import pytest

from fleet.cli.main import VERBS, cli
from tests.system.cli import PLAYBOOKS, Here, LabUp
from tests.system.cli_page import commands

HELLO = PLAYBOOKS / "hello.yaml"


def groups() -> list[str]:
    """Return every command that only holds others."""
    context = click.Context(cli, info_name="fleet")
    found = [each for name in VERBS for each in commands(name, context)]
    return ["", *(each.command_path.removeprefix("fleet ") for each in found if isinstance(each.command, click.Group))]


@pytest.mark.parametrize("group", groups())
def test_a_group_alone_prints_its_help(here: Here, group: str) -> None:
    """Help goes to stdout, stderr stays empty, and nothing is called an error."""
    done = here(*group.split())
    assert (done.code, done.err) == (0, "")
    assert done.out == here(*group.split(), "--help").out
    assert done.out.startswith("Usage: fleet")


@pytest.mark.parametrize("amount", ["0", "0%", "0.0%"])
@pytest.mark.parametrize("words", [("run", HELLO, "-y"), ("plan", HELLO), ("exec", "all", "-y"), ("sim", HELLO)])
def test_nothing_at_a_time_is_refused(here: Here, lab: LabUp, words: tuple[object, ...], amount: str) -> None:
    """A concurrency of zero would start nothing, and is never taken for one."""
    command = ("--", "true") if words[0] == "exec" else ()
    where = () if words[0] == "sim" else (lab.flag,)
    done = here(*words, "-f", amount, *where, *command)
    assert (done.code, done.out) == (2, "")
    assert f"'{amount}' would start nothing; give at least 1, or more than 0%" in done.err


@pytest.mark.parametrize("amount", ["0", "0%"])
def test_tuning_to_nothing_names_pause(here: Here, lab: LabUp, amount: str) -> None:
    """Whoever wants a run to hold is told the verb that holds it; budgets of zero are budgets."""
    here("run", HELLO, "-l", "web01", "-y", lab.flag)
    done = here("tune", "last", "--concurrency", amount)
    assert done.code == 2
    assert "would start nothing" in done.err and "fleet pause RUN holds a run" in done.err
    assert "would start nothing" not in here("tune", "last", "--max-failures", amount).err


@pytest.mark.parametrize("flag", ["-f", "--max-failures", "--max-unreachable"])
@pytest.mark.parametrize("amount", ["-1", "-5%", "101%", "many"])
def test_amounts_that_are_none_are_refused(here: Here, lab: LabUp, flag: str, amount: str) -> None:
    """Negative numbers and percents over a hundred are usage errors, wherever an amount is given."""
    for words in (("plan", HELLO, lab.flag), ("tune", "last")):
        done = here(*words, flag, amount)
        assert (done.code, done.out) == (2, "")
        assert f"{amount!r} is not a count such as 5 or a percent such as 5%" in done.err


def test_no_time_is_refused(here: Here, lab: LabUp) -> None:
    """A script that may take no time at all cannot run."""
    done = here("plan", HELLO, "--timeout", "0s", lab.flag)
    assert (done.code, done.out) == (2, "")
    assert "'0s' leaves no time; give more than 0s" in done.err
