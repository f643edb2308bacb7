"""From a job to the command that is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.errors import InvalidInput
from fleet.guest.envelope import open as open_envelope
from fleet.guest.spool import Stream
from fleet.playbook.model import Identity, Parameter, Properties, Script, Transport
from fleet.run.command import blobs, build, check, check_sizes, command_name
from tests.unit.run.factory import plan

RUN = "20260101-000000-test"


def test_names_are_one_per_job_and_the_same_for_each_attempt() -> None:
    """A command's name is decided by run and job alone, and no two jobs share one."""
    made = plan(5, steps=2)
    names = [command_name(RUN, job) for job in made.jobs()]
    assert len(set(names)) == 10
    assert names == [command_name(RUN, job) for job in made.jobs()]


def test_secrets_travel_apart_from_the_script() -> None:
    """A secret's value is in the protected parameters only, encoded; not in the script, nor in any repr."""
    made = plan(1)
    step = replace(made.steps[0], env={"TOKEN": "{{ params.token }}", "SCOPE": "{{ params.scope }}"})
    made = replace(
        made,
        steps=(step,),
        declared=(Parameter("token", secret=True), Parameter("scope")),
        parameters={"scope": "all"},
    )
    command = build(made, RUN, next(made.jobs()), {"token": "hunter2-canary"})
    assert list(command.protected) == ["FLEET_SECRET_TOKEN"]
    assert "hunter2" not in command.script + repr(command)
    opened = open_envelope(command.script, {})
    assert opened is not None
    assert dict(opened.env).get("SCOPE") == "all"


def test_an_optional_secret_that_was_not_given_is_empty() -> None:
    """As with plain parameters, what was not given is empty text, and nothing fails in mid-run."""
    made = plan(1)
    step = replace(made.steps[0], env={"TOKEN": "{{ params.token }}"})
    made = replace(made, steps=(step,), declared=(Parameter("token", secret=True),))
    check(made, RUN, {})
    assert build(made, RUN, next(made.jobs()), {}).protected == {"FLEET_SECRET_TOKEN": "="}


def test_unwrapped_scripts_carry_their_values_as_parameters() -> None:
    """With receipts off the script goes as it is, its environment as named parameters, its arguments as arguments."""
    made = plan(1, receipts=False, transport=Transport.ACTION)
    made = replace(made, steps=(replace(made.steps[0], env={"A": "1"}, args=("x y",)),))
    command = build(made, RUN, next(made.jobs()), {})
    assert command.script == "echo 0\n"
    assert (dict(command.parameters), command.args) == ({"A": "1"}, ("x y",))


def test_arguments_are_filled_in_wrapped_or_not() -> None:
    """Expressions in arguments become values for each target, in the wrapper as without it."""
    for receipts in (True, False):
        made = plan(1, receipts=receipts)
        step = replace(made.steps[0], args=("{{ target.name }}", "{{ params.scope }}"))
        made = replace(made, steps=(step,), parameters={"scope": "all"})
        command = build(made, RUN, next(made.jobs()), {})
        opened = open_envelope(command.script, {})
        assert (opened.args if opened else command.args) == ("vm0000", "all")


@pytest.mark.parametrize(("length", "fits"), [(170_000, True), (200_000, False)])
def test_a_script_too_long_for_the_action_is_refused_with_the_figure(length: int, fits: bool) -> None:
    """The handler's bound of 262,144 bytes, counted on the base64 of the wrapped script, holds before anything is sent."""
    made = plan(2, transport=Transport.ACTION)
    made = replace(made, steps=(replace(made.steps[0], script=Script(text="#" * length)),))
    if fits:
        check_sizes(made)
    else:
        with pytest.raises(InvalidInput, match=r"'step0': .* \d{3},\d{3} bytes encoded, 262,144 at most"):
            check_sizes(made)
    check_sizes(replace(made, transport=Transport.MANAGED))


@pytest.mark.parametrize(
    ("identities", "writers", "readable"),
    [
        ({}, (None, None), {Stream.STDOUT, Stream.STDERR}),
        ({"blob_identity": Identity("c")}, (Identity("c"), Identity("c")), set()),
        ({"stderr_identity": Identity()}, (None, Identity()), {Stream.STDOUT}),
        ({"stdout_identity": Identity("", "o")}, (Identity("", "o"), None), {Stream.STDERR}),
        (
            {"blob_identity": Identity("c"), "stderr_identity": Identity("", "o")},
            (Identity("c"), Identity("", "o")),
            set(),
        ),
    ],
)
def test_each_stream_has_a_writer_of_its_own(
    identities: dict[str, Identity], writers: tuple[Identity | None, ...], readable: set[Stream]
) -> None:
    """A stream's own identity goes before the one of both, and a blob is read by its address where that is signed."""
    made = plan(1)
    own = Properties(stdout_blob="https://x/o", stderr_blob="https://x/e", **identities)  # type: ignore[arg-type]
    made = replace(made, steps=(replace(made.steps[0], properties=own),))
    job = next(made.jobs())
    command = build(made, RUN, job, {})
    assert (command.stdout_identity, command.stderr_identity) == writers
    assert set(blobs(made, job, {})) == readable
