"""A playbook is loaded, or everything that is wrong with it is named at once."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import InvalidInput, Problem
from fleet.playbook.load import MAX_SCRIPT, load
from fleet.playbook.model import Amount, Parameter, Playbook, Rollout, Script, Selection, Shell

SCRIPTS = {
    "scripts/ok.sh": "uname -r\n",
    "scripts/empty.sh": "\n",
    "scripts/pasted.sh": "true\necho {{ params.scope }}\n",
    "scripts/large.sh": "#" * (MAX_SCRIPT + 1),
}


def read_script(name: str) -> str:
    if name == "scripts/latin.sh":
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    try:
        return SCRIPTS[name]
    except KeyError:
        raise FileNotFoundError(2, "No such file or directory", name) from None


def loaded(text: str) -> Playbook:
    return load(dedent(text), file="play.yaml", read_script=read_script)


def problems(text: str) -> list[Problem]:
    with pytest.raises(InvalidInput) as caught:
        loaded(text)
    return list(caught.value.problems)


HEAD = "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: demo}\n"  # three lines
STEPS = "steps: [{id: a, run: {inline: uptime}}]\n"


def the_problem(text: str) -> Problem:
    (only,) = problems(text)
    return only


FULL = """\
    apiVersion: fleet/v1
    kind: Playbook
    metadata: {name: linux-patch, version: 1.0.0, title: Patch, owner: ops@example.org, labels: {team: web}}
    parameters:
      scope: {type: string, enum: [security, all], default: security}
      days: {type: integer, minimum: 1, required: false}
      token: {type: string, secret: true}
    targets:
      subscriptions: ["prod-*", "!prod-legacy"]
      resource_groups: ["rg-web-*"]
      where: tag.env == "prod" and os == "linux"
      exclude: [vm-jump-01]
      max: 400
    rollout:
      waves: [canary, 1, 5%, 100%]
      concurrency: 60
      max_failures: 2.5%
      max_unreachable: 5
      soak: 10m
      deadline: 1h30m
    steps:
      - id: patch
        run: {file: scripts/ok.sh}
        env: {SCOPE: "{{ params.scope }}", TOKEN: "{{ params.token }}", HOST: "x-{{ target.name }}"}
        args: ["--zone={{ target.tag.zone }}"]
        timeout: 45m
        ok: {exit: [0, 80]}
        run_as: deploy
      - {id: check, run: {inline: uptime}, shell: sh}
    report: [html, json]
    """


def test_a_playbook_becomes_a_value() -> None:
    """Every key reaches the model, in the model's own types."""
    playbook = loaded(FULL)
    assert (playbook.name, playbook.version, playbook.file) == ("linux-patch", "1.0.0", "play.yaml")
    assert playbook.labels == {"team": "web"}
    assert playbook.parameters == (
        Parameter("scope", default="security", enum=("security", "all")),
        Parameter("days", type="integer", minimum=1),
        Parameter("token", secret=True, required=True),
    )
    assert playbook.selection == Selection(
        ("prod-*", "!prod-legacy"),
        ("rg-web-*",),
        'tag.env == "prod" and os == "linux"',
        ("vm-jump-01",),
        400,
    )
    assert playbook.rollout == Rollout(
        waves=("canary", Amount(1), Amount(5, percent=True), Amount(100, percent=True)),
        concurrency=Amount(60),
        max_failures=Amount(2.5, percent=True),
        max_unreachable=Amount(5),
        soak=600.0,
        deadline=5400.0,
    )
    patch, check = playbook.steps
    assert patch.script == Script(text="uname -r\n", file="scripts/ok.sh")
    assert patch.env["HOST"] == "x-{{ target.name }}"
    assert (patch.args, patch.timeout, patch.ok_exit) == (("--zone={{ target.tag.zone }}",), 2700.0, (0, 80))
    assert (patch.run_as, check.shell, check.script.text) == ("deploy", Shell.SH, "uptime")
    assert playbook.report == ("html", "json")


def test_what_may_be_left_out_has_a_default() -> None:
    """The smallest playbook has a name and one step."""
    playbook = loaded(HEAD + STEPS)
    assert (playbook.selection, playbook.rollout) == (Selection(), Rollout())
    assert playbook.steps[0].timeout == 1800.0


def test_the_digest_covers_text_and_scripts() -> None:
    """A changed playbook and a changed script give another digest; the same text gives the same."""
    text = HEAD + "steps: [{id: a, run: {file: x.sh}}]\n"

    def digest(text: str, script: str) -> str:
        return load(text, file="f", read_script=lambda name: script).digest

    assert digest(text, "one") == digest(text, "one")
    assert len({digest(text, "one"), digest(text, "two"), digest(text + "# more\n", "one")}) == 3


MISTAKES = """\
    apiVersion: fleet/v1
    kind: Playbook
    metadata: {name: Bad Name}
    parameters:
      scope: {enum: [security, all], default: securty}
      token: {secret: true, default: hunter2}
    targets:
      where: tag.env == "prod" andd os == "linux"
    rollout:
      max_failurs: 2
      waves: [5%, 2%]
    steps:
      - id: one
        run: {file: scripts/missing.sh}
        timeout: 45 minutes
        env: {SCOPE: "{{ params.scope }}"}
      - id: one
        run: {inline: "echo {{ params.scope }}"}
    """


def test_ten_mistakes_are_named_at_once() -> None:
    """Ten planted mistakes, of form and of sense, give ten problems with the right lines."""
    found = problems(MISTAKES)
    assert [(item.line, item.code) for item in found] == [
        (3, "pattern"),
        (5, "bad_parameter"),
        (6, "secret_in_playbook"),
        (8, "selector_syntax"),
        (10, "unknown_key"),
        (11, "wave_order"),
        (14, "script_unreadable"),
        (15, "duration"),
        (17, "duplicate_step"),
        (18, "expression_in_script"),
    ]
    assert all(item.file == "play.yaml" for item in found)
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("text", "code", "place", "hint"),
    [
        ("rollout: {waves: [5, canary]}", "wave_order", (4, 22), "move it to the front, or remove it"),
        ("rollout: {waves: [5%, 10]}", "wave_order", (4, 23), "write counts before percents"),
        ("rollout: {waves: [101%]}", "amount", (4, 19), "percents go up to 100%"),
        ("rollout: {waves: [half]}", "wave", (4, 19), "write 1, 5% or canary"),
        ("rollout: {concurrency: 0}", "amount", (4, 24), ""),
        ("rollout: {max_failures: '5'}", "amount", (4, 25), "write 5 or 5%"),
        ("rollout: {soak: 10 min}", "duration", (4, 17), "write it as 45m or 1h30m"),
        ("targets: {subscriptions: []}", "out_of_range", (4, 26), ""),
        ("report: [pdf]", "not_allowed", (4, 10), ""),
        ("report: [jsn]", "not_allowed", (4, 10), "did you mean 'json'?"),
        ("parameters: {a-b: {}}", "parameter_name", (4, 14), "use letters, digits and _"),
        ("parameters: {a: {type: int}}", "not_allowed", (4, 24), "did you mean 'integer'?"),
        ("parameters: {a: {type: integer, default: x}}", "bad_parameter", (4, 42), ""),
        ("parameters: {a: {default: 5}}", "bad_parameter", (4, 27), 'quote it: "5"'),
        ("parameters: {a: {default: yes}}", "ambiguous_scalar", (4, 27), 'write "yes" for text, or true'),
        ("parameters: {a: {enum: [x, 1]}}", "bad_parameter", (4, 28), 'quote it: "1"'),
        ("parameters: {a: {enum: [x, x]}}", "duplicate", (4, 28), ""),
        ("parameters: {a: {pattern: '['}}", "pattern", (4, 27), ""),
        ("parameters: {a: {pattern: '[a-z]+', default: A}}", "bad_parameter", (4, 46), ""),
        ("parameters: {a: {minimum: 1}}", "contradiction", (4, 18), ""),
        ("parameters: {a: {type: integer, minimum: 2, maximum: 1}}", "contradiction", (4, 42), ""),
        ("parameters: {a: {required: true, default: x}}", "contradiction", (4, 18), "remove one of the two"),
        ("parameters: {a: {secret: true, type: list}}", "secret_type", (4, 38), ""),
        ("parameters: {a: {secret: true, enum: [x]}}", "secret_in_playbook", (4, 32), None),
        ("targets: {exclude: ['{{ params.a }}']}", "expression_misplaced", (4, 21), None),
    ],
)  # fmt: skip
def test_mistakes_before_the_steps(text: str, code: str, place: tuple[int, int], hint: str | None) -> None:
    """A mistake outside the steps is one problem, where it stands, with a way out."""
    found = the_problem(HEAD + text + "\n" + STEPS)
    assert (found.code, (found.line, found.column)) == (code, place)
    assert hint is None or found.hint == hint


@pytest.mark.parametrize(
    ("step", "code", "column"),
    [
        ("{id: A b, run: {inline: x}}", "pattern", 8),
        ("{id: a}", "missing_key", 3),
        ("{id: a, run: {}}", "run_source", 16),
        ("{id: a, run: {inline: x, uri: 'https://e.org/x'}}", "run_source", 28),
        ("{id: a, run: {uri: 'http://e.org/x'}}", "pattern", 22),
        ("{id: a, run: {file: ../x.sh}}", "script_path", 23),
        ("{id: a, run: {file: /x.sh}}", "script_path", 23),
        ("{id: a, run: {file: 'C:\\x.sh'}}", "script_path", 23),
        ("{id: a, run: {file: scripts/none.sh}}", "script_unreadable", 23),
        ("{id: a, run: {file: scripts/latin.sh}}", "script_unreadable", 23),
        ("{id: a, run: {file: scripts/empty.sh}}", "script_empty", 23),
        ("{id: a, run: {file: scripts/large.sh}}", "script_too_large", 23),
        ("{id: a, run: {inline: x}, env: {1A: x}}", "env_name", 35),
        ("{id: a, run: {inline: x}, env: {A: 1}}", "wrong_type", 38),
        ("{id: a, run: {inline: x}, env: {A: 'v {{ params.b }}'}}", "unknown_parameter", 41),
        ("{id: a, run: {inline: x}, env: {A: '{{ target.nme }}'}}", "expression", 39),
        ("{id: a, run: {inline: x}, env: {A: '{{ params.p | upper }}'}}", "expression", 39),
        ("{id: a, run: {inline: x}, env: {A: '{{ params.p'}}", "expression", 39),
        ("{id: a, run: {inline: x}, env: {A: 'x{{ params.s }}'}}", "secret_in_text", 38),
        ("{id: a, run: {inline: x}, args: ['{{ params.s }}']}", "secret_in_text", 36),
        ("{id: a, run: {inline: x}, title: '{{ params.s }}'}", "expression_misplaced", 36),
        ("{id: a, run: {command_id: ifconfig}, run_as: x}", "not_carried", 40),
        ("{id: a, run: {command_id: ifconfig}, env: {A: '{{ params.s }}'}}", "not_carried", 49),
        ("{id: a, run: {command_id: ifconfig}, parameters: {A: '{{ params.s }}'}}", "not_carried", 56),
        ("{id: a, run: {inline: x}, transport: action, run_as: x}", "not_carried", 48),
        ("{id: a, run: {inline: x}, shell: pwsh, args: [a, '-Name:value']}", "cut_argument", 52),
        ("{id: a, run: {inline: x}, transport: action, async: true}", "not_carried", 48),
        ("{id: a, run: {inline: x}, transport: action, shell: pwsh7}", "not_carried", 55),
        ("{id: a, run: {inline: x}, transport: action, env: {A: '{{ params.s }}'}}", "not_carried", 57),
        ("{id: a, run: {inline: x}, parameters: {A: b}}", "not_carried", 29),
        ("{id: a, run: {uri: 'https://e.org/x'}, env: {A: b}, parameters: {a: b}}", "duplicate", 68),
        ("{id: a, run: {uri: 'https://e.org/x'}, parameters: {A: 'x{{ params.s }}'}}", "secret_in_text", 58),
        ("{id: a, run: {uri: 'https://e.org/x', identity: me}}", "identity", 51),
        ("{id: a, run: {inline: x, identity: system}}", "not_alone", 28),
        ("{id: a, run: {inline: x}, on_existing: fail}", "not_alone", 29),
        ("{id: a, run: {inline: x}, output: {identity: system}}", "not_alone", 38),
        ("{id: a, run: {inline: x}, output: {stderr_blob: 'https://x', stdout_identity: system}}", "not_alone", 64),
        ("{id: a, run: {inline: x}, output: {stdout_blob: 'https://x', stderr_identity: system}}", "not_alone", 64),
        ("{id: a, run: {inline: x}, output: {stdout_blob: 'ftp://x'}}", "pattern", 51),
        ("{id: a, run: {inline: x}, output: {stdout_blob: 'https://x/{{ params.n }}'}}", "unknown_parameter", 62),
        ("{id: a, run: {inline: x}, run_as: {name: x}}", "run_as", 37),
        ("{id: a, run: {inline: x}, run_as: {user: x, password: y}}", "secret_in_playbook", 57),
        ("{id: a, run: {inline: x}, run_as: {user: x, password: '{{ params.p }}'}}", "secret_in_playbook", 57),
        ("{id: a, run: {inline: x}, run_as: {user: x, password: 'x{{ params.s }}'}}", "secret_in_text", 57),
        ("{id: a, run: {inline: x}, run_as: '{{ params.p }}'}", "expression_misplaced", 37),
        ("{id: a, run: {inline: x}, tags: {A: '{{ params.s }}'}}", "secret_in_text", 39),
        ("{id: a, run: {inline: x}, tags: {'a<b': x}}", "tags", 35),
        ("{id: a, run: {inline: x}, command: fleet-1}", "command_name", 38),
        ("{id: a, run: {inline: x}, command: a b}", "pattern", 38),
        ("{id: a, run: {gallery: /x}}", "pattern", 26),
        ("{id: a, run: {inline: x}, timeout: '600'}", "duration", 38),
        ("{id: a, run: {inline: x}, timeout: 1:30}", "duration", 38),
        ("{id: a, run: {inline: x}, ok: {exit: []}}", "out_of_range", 40),
        ("{id: a, run: {inline: x}, shell: zsh}", "not_allowed", 36),
    ],
)  # fmt: skip
def test_mistakes_in_a_step(step: str, code: str, column: int) -> None:
    """A mistake in a step is one problem, at its own column."""
    found = the_problem(f"{HEAD}parameters: {{p: {{default: x}}, s: {{secret: true}}}}\nsteps:\n- {step}\n")
    assert (found.code, found.line, found.column) == (code, 6, column)


def test_two_steps_do_not_share_a_standing_command() -> None:
    """The later one would write over the result of the earlier one, whatever the case of the name."""
    steps = "steps:\n- {id: a, run: {inline: x}, command: c}\n- {id: b, run: {inline: x}, command: C}\n"
    found = the_problem(HEAD + steps)
    assert (found.code, found.line) == ("command_name", 6)


def test_an_expression_in_a_script_file_is_named_there() -> None:
    """A script that waits for a pasted value is named with its own file and line, and the way that works."""
    found = the_problem(HEAD + "parameters: {scope: {default: x}}\nsteps: [{id: a, run: {file: scripts/pasted.sh}}]\n")
    assert (found.code, found.file, found.line, found.column) == (
        "expression_in_script",
        "scripts/pasted.sh",
        2,
        6,
    )
    assert "env entry" in found.hint


def test_a_script_is_read_once() -> None:
    """Two steps that name one script share one reading, so they cannot differ."""
    asked: list[str] = []

    def reader(name: str) -> str:
        asked.append(name)
        return "true"

    step = "{{id: {0}, run: {{file: x.sh}}}}"
    load(f"{HEAD}steps: [{step.format('a')}, {step.format('b')}]\n", file="f", read_script=reader)
    assert asked == ["x.sh"]


def test_a_mistake_in_a_folded_expression_points_at_its_line() -> None:
    """In a literal block the place of a selector's mistake is its real line and column."""
    found = problems(HEAD + 'targets:\n  where: |\n    os == "linux"\n    and !\n' + STEPS)
    assert (found[0].line, found[0].column) == (7, 9)


def test_another_kind_is_refused() -> None:
    """A file of another kind says which kind is meant."""
    found = the_problem("apiVersion: fleet/v1\nkind: Playbok\nmetadata: {name: demo}\n" + STEPS)
    assert (found.code, found.line, found.hint) == ("not_allowed", 2, "did you mean 'Playbook'?")


_keys = st.sampled_from(
    ["apiVersion", "kind", "metadata", "parameters", "targets", "rollout", "steps", "where", "waves", "id",
     "run", "file", "inline", "env", "args", "default", "enum", "secret", "pattern", "name", "x"]
)  # fmt: skip
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["fleet/v1", "Playbook", "{{ params.x }}", "{{", "[", "5%", "canary", "yes", "45m", "../x", ""]),
)
_trees = st.recursive(
    _values,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=5)),
    max_leaves=20,
)


@given(_trees)
def test_no_tree_gives_a_traceback(tree: object) -> None:
    """Any well-formed document, however senseless, gives a playbook or positioned problems."""
    import json

    _load_or_complain(json.dumps(tree))


@given(st.text(max_size=120))
def test_no_text_gives_a_traceback(text: str) -> None:
    """Any text gives a playbook or positioned problems."""
    _load_or_complain(text)
    _load_or_complain(HEAD + text)


def _load_or_complain(text: str) -> None:
    try:
        load(text, file="f", read_script=read_script)
    except InvalidInput as error:
        assert error.problems
        assert all(item.line >= 1 and item.column >= 1 for item in error.problems)
