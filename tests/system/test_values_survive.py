"""Parameters survive: whatever a person gives as a value is what a script in a real guest finds, over both transports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.system.cli import LABS, Here, Machine, lab_up

VALUES = {
    "quotes": 'it\'s "quoted" `id` $(id) $HOME \\ \\n \\',
    "signs": "^ & % < > | ; ! # ~ * ? [a] {b,c} %PATH% ^&",
    "lines": "two\nlines\n\n",
    "returns": "tabs\tand\r\nreturns\r\n",
    "utf8": "grüße, 日本語 \U0001f680",
    "braces": "{% x %} }} {not filled}",
    "empty": "",
    "dash": "-n",
    "space": "  ",
    "large": "x'é " * 20_000,
}


def playbook(machine: Machine, values: dict[str, str]) -> Path:
    """A playbook whose script prints the length and digest of each value, from its environment and as an argument."""
    show = 'printf %%s "$%s" | sha256sum | cut -d" " -f1'
    lines = [show % name.upper() for name in values]
    lines += ['for each in "$@"; do printf %s "$each" | sha256sum | cut -d" " -f1; done']
    small = [name for name in values if name != "large"]
    document = {
        "apiVersion": "fleet/v1",
        "kind": "Playbook",
        "metadata": {"name": "values", "version": "1.0.0"},
        "parameters": {name: {"type": "string"} for name in values},
        "targets": {"where": 'name == "web01"'},
        "steps": [
            {
                "id": "show",
                "run": {"inline": "\n".join(lines)},
                "env": {name.upper(): f"{{{{ params.{name} }}}}" for name in values},
                "args": [f"{{{{ params.{name} }}}}" for name in small],
            }
        ],
    }
    path = machine.cwd / "values.yaml"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.sandbox
@pytest.mark.parametrize("transport", ["managed", "action"])
def test_values_arrive_over_both_transports(here: Here, machine: Machine, transport: str) -> None:
    """Quotes, signs, line ends, UTF-8, empty values and 100 KB arrive byte for byte as variables and as arguments."""
    (machine.cwd / "values.json").write_text(json.dumps(VALUES, ensure_ascii=False), encoding="utf-8")
    assert len(VALUES["large"].encode()) == 100_000
    with lab_up(machine, LABS / "real.yaml") as lab:
        words = ("run", playbook(machine, VALUES), lab.flag, "-y", "-o", "json", "-e", "@values.json")
        done = here(*words, "--transport", transport)
    assert done.code == 0, done.err
    expected = [hashlib.sha256(text.encode()).hexdigest() for text in VALUES.values()]
    assert done.report["jobs"][0]["stdout"].split() == [*expected, *expected[:-1]]


def test_what_the_action_cannot_carry_is_refused(here: Here, machine: Machine) -> None:
    """A value that makes the script too long for the action is refused before anything is sent, with what to do."""
    values = {f"v{n}": "é" * 40_000 for n in range(3)}
    (machine.cwd / "values.json").write_text(json.dumps(values), encoding="utf-8")
    with lab_up(machine, LABS / "small.yaml") as lab:
        words = ("run", playbook(machine, values), lab.flag, "-y", "-e", "@values.json")
        before = lab.executions()
        refused = here(*words, "--transport", "action")
        assert (refused.code, lab.executions(before)) == (2, {})
        assert "bytes encoded, 262,144 at most" in refused.err and "--transport managed" in refused.err
        assert here(*words, "--transport", "managed", "-q", "-o", "json").code == 0
