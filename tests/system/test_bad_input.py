"""Whatever somebody types or hands in: a sentence and an exit code, never a traceback."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.cli.main import VERBS
from tests.system.cli import PLAYBOOKS, Here, LabUp, Machine

HELLO = str(PLAYBOOKS / "hello.yaml")
REFUSALS = {1, 2, 6, 7}

FILES: dict[str, bytes] = {
    "empty.yaml": b"",
    "comment.yaml": b"# nothing\n",
    "binary.yaml": bytes(range(256)),
    "nul.yaml": b"kind: \x00\n",
    "latin.yaml": "kind: caf\u00e9\n".encode("latin-1"),
    "bom.yaml": b"\xef\xbb\xbfkind: Playbook\n",
    "open.yaml": b"steps: [\n",
    "tabs.yaml": b"steps:\n\t- id: x\n",
    "list.yaml": b"- 1\n- 2\n",
    "number.yaml": b"42\n",
    "two.yaml": b"a: 1\n---\nb: 2\n",
    "twice.yaml": b"kind: Playbook\nkind: Playbook\n",
    "alias.yaml": b"a: &a [*a]\n",
    "bomb.yaml": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        f"{n}: &{n} [{', '.join([f'*{m}'] * 9)}]\n".encode() for m, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "tag.yaml": b"!!python/object/apply:os.system ['true']\n",
    "deep.yaml": b"[" * 5000,
    "long.yaml": b"kind: " + b"x" * 300_000 + b"\n",
    "odd.yaml": b"apiVersion: fleet/v1\nkind: Playbook\nmetadata: 7\nsteps: {a: b}\ntargets: [1]\nrollout: no\n",
    "huge.yaml": b"apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: x}\nsteps:\n"
    b"  - {id: a, run: {inline: x}, timeout: 9" + b"9" * 400 + b", ok: {exit: [1e999]}}\n",
}


@pytest.fixture
def place(here: Here, machine: Machine) -> Here:
    """A working folder full of files that are not what they are taken for."""
    for name, content in FILES.items():
        (machine.cwd / name).write_bytes(content)
    (machine.cwd / "folder.yaml").mkdir()
    (machine.cwd / "loop.yaml").symlink_to("loop.yaml")
    (machine.cwd / "notes.txt").write_text("no playbook")
    return here


def told(here: Here, *args: object) -> str:
    """The command refused in words, and printed no data."""
    done = here(*args)
    assert done.code in REFUSALS, (args, done)
    assert done.out == ""
    assert done.err.strip()
    return done.err


@pytest.mark.parametrize("name", [*FILES, "folder.yaml", "loop.yaml", "notes.txt", "absent.yaml", "", "x" * 5000])
def test_files_that_are_something_else(place: Here, lab: LabUp, name: str) -> None:
    """Wherever a file is wanted, what is in its place is told by its name."""
    for args in (
        ("validate", name),
        ("run", name, lab.flag, "-y"),
        ("targets", name, f"--lab={name or 'absent.yaml'}"),
        ("lab", "check", name),
        ("run", HELLO, lab.flag, "-y", "-e", f"@{name}"),
    ):
        err = told(place, *args)
        assert name[:100] in err or (args[0] == "run" and "there is no parameter" in err)
    if name not in ("empty.yaml", "comment.yaml", ""):  # a config without a word is a config, and no name is none
        assert name[:100] in told(place, "config", "show", "--config", name)


@pytest.mark.parametrize(
    "args",
    [
        [""],
        ["-"],
        ["--"],
        ["--lab"],
        ["--no-such-option"],
        ["run"],
        ["run", HELLO, HELLO],
        ["run", HELLO, "--lab="],
        ["run", HELLO, "--lab=http://"],
        ["run", HELLO, "--lab=http://[::1"],
        ["run", HELLO, "--lab=http://127.0.0.1:99999"],
        ["run", HELLO, "--lab=https://example.org@127.0.0.1/x?y#z"],
        ["run", HELLO, "--lab=ftp://127.0.0.1"],
        ["run", HELLO, "--pick", "0"],
        ["run", HELLO, "--pick", "-1"],
        ["run", HELLO, "--pick", "9" * 400],
        ["run", HELLO, "--seed", "x"],
        ["run", HELLO, "-f", "0x10"],
        ["run", HELLO, "-f", "9" * 400],
        ["run", HELLO, "-f", ""],
        ["run", HELLO, "-f", "-5"],
        ["run", HELLO, "--max-failures", "100.5%"],
        ["run", HELLO, "--max-failures", "٣"],
        ["run", HELLO, "--timeout", "9" * 400],
        ["run", HELLO, "--timeout", "soon"],
        ["run", HELLO, "--timeout", "0"],
        ["run", HELLO, "--timeout", "-1"],
        ["run", HELLO, "--timeout", "1e9"],
        ["run", HELLO, "--max-targets", "0"],
        ["run", HELLO, "--report", "json"],
        ["run", HELLO, "--report", "json="],
        ["run", HELLO, "--report", "=x"],
        ["run", HELLO, "--report", "json=/"],
        ["run", HELLO, "--report", "json=."],
        ["run", HELLO, "--report", f"json={'x' * 5000}/y"],
        ["run", HELLO, "-o", "xml"],
        ["run", HELLO, "--color", "pink"],
        ["run", HELLO, "-e", "="],
        ["run", HELLO, "-e", "@"],
        ["run", HELLO, "-e", ""],
        ["plan", HELLO, "-o", "csv"],
        ["targets", ""],
        ["targets", "("],
        ["targets", "(" * 3000],
        ["targets", "not " * 3000 + 'name == "x"'],
        ["targets", "tag."],
        ["targets", 'name matches "["'],
        ["targets", 'name == "' + "x" * 5000],
        ["targets", "\udcff"],
        ["targets", "all", "-l", "("],
        ["targets", "all", "-x", "["],
        ["targets", "all", "-x", ""],
        ["targets", "all", "--subscription", "nosuch"],
        ["targets", "all", "--subscription", ""],
        ["show"],
        ["show", ""],
        ["show", "../../etc/passwd"],
        ["show", "/etc"],
        ["show", "."],
        ["show", ".."],
        ["show", "*"],
        ["show", "a" * 5000],
        ["show", "last/../last"],
        ["show", "\udcff"],
        ["output", "../x", "web01"],
        ["report", "~", "--report", "json=x"],
        ["resume", "-1"],
        ["resume", "%00"],
        ["rerun", ":"],
        ["rerun", ":failed"],
        ["rerun", "last:\x1b[31m"],
        ["lab", "down"],
        ["lab", "up", "--port", "70000"],
        ["lab", "up", "absent.yaml"],
        ["schema", "nosuch"],
        ["config", "get"],
        ["completion", "csh"],
        ["version", "x"],
        ["validate"],
    ],
    ids=lambda args: " ".join(args)[:40].encode("ascii", "backslashreplace").decode() or "nothing",
)
def test_odd_command_lines(place: Here, lab: LabUp, args: list[str]) -> None:
    """Odd flags, values, expressions and ids are refused in words; nothing odd reaches the terminal."""
    wants_lab = args[:1] in (["run"], ["plan"], ["targets"]) and not any(arg.startswith("--lab") for arg in args)
    err = told(place, *args, *([lab.flag] if wants_lab else []))
    assert "\x1b" not in err
    assert len(err) < 20_000


def test_nothing_at_all_is_help(here: Here) -> None:
    """`fleet` alone shows what there is, on stdout; it asked for nothing, and nothing failed."""
    done = here()
    assert (done.code, done.err) == (0, "")
    assert "Verbs" in done.out


WORDS = st.one_of(
    st.sampled_from(
        [*VERBS, "last", "-y", "-o", "json", "-l", "-x", "-e", "--pick", "--lab", "all", "up", "show", HELLO]
    ),
    st.sampled_from(
        ["", "-", "--", "=", "@", ":", "..", "/", "*", "%", "'", '"', "\\", "\n", "\x1b]0;x\x07", "0", "-1"]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=12),
)


@settings(
    max_examples=min(60, settings.default.max_examples), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(WORDS, max_size=6))
def test_any_words(place: Here, words: list[str]) -> None:
    """Any words at all end with an exit code of the list and without a traceback."""
    if "lab" in words and "up" in words:
        return  # would serve until interrupted
    if "--lab" in words:
        words = [word for word in words if word != "--lab"]  # a lab for each example would take long
    assert place(*words).code in {0, *REFUSALS}


def test_an_endless_file_is_read_to_its_bound(place: Here, machine: Machine) -> None:
    """A device that never ends, in place of a playbook, a script, a config or a plan, is refused without filling memory."""
    (machine.cwd / "endless.yaml").symlink_to("/dev/zero")
    (machine.cwd / "names.yaml").write_text(
        "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: x, version: 1.0.0}\n"
        "steps: [{id: a, run: {file: endless.yaml}}]\n"
    )
    for args in (["validate", "endless.yaml"], ["validate", "names.yaml"], ["config", "show", "--config=endless.yaml"]):
        told(place, *args)
    assert "more than" in told(place, "apply", "endless.yaml", "-y")


PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: odd, version: 1.0.0}
parameters: {token: {type: string, secret: true, required: true}}
targets: {}
steps:
  - {id: one, timeout: 1m, STEP}
"""


@pytest.mark.parametrize(
    ("transport", "step", "code"),
    [
        ("managed", "run: {command_id: RunShellScript}", "built_in_over_managed"),
        ("action", "run: {inline: x}, run_as: web", "run_as_over_action"),
        ("action", "run: {uri: 'https://x.blob.core.windows.net/c/s.sh'}", "uri_over_action"),
        ("action", "run: {inline: x}, env: {A: '{{ params.token }}'}", "secret_over_action"),
        ("action", "run: {inline: x}, shell: pwsh7", "managed_only"),
        ("action", "run: {inline: x}, tags: {a: b}", "managed_only"),
    ],
)
def test_a_step_that_a_transport_cannot_carry(
    here: Here, machine: Machine, lab: LabUp, transport: str, step: str, code: str
) -> None:
    """It is refused before anything is sent, with the step, why, and the transport that can."""
    (machine.cwd / "play.yaml").write_text(PLAY.replace("STEP", step))
    before = lab.executions()
    done = here("run", "play.yaml", lab.flag, "-y", "-l", "web01", "-e", "token=env:HOME", "--transport", transport)
    assert (done.code, done.out) == (2, "")
    assert f"[{code}]" in done.err and "step 'one'" in done.err, done.err
    assert "use --transport" in done.err
    assert lab.executions(before) == {}
