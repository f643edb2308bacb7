"""From answers to outcomes: the surprises of the service, one by one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.guest.delivery import Delivery, Shell, script_digest
from fleet.guest.envelope import open as open_envelope
from fleet.guest.wrapper import wrap
from fleet.run.answers import Answer
from fleet.run.model import Cause, CauseCode, Extent, Outcome, Status
from fleet.run.outcome import UNFINISHED, judge_answer, judge_failure, unchanged

NONCE = "ab" * 16
DELIVERY = Delivery("echo hello", Shell.BASH, key="k", nonce=NONCE, timeout=60.0)
DIGEST = script_digest(DELIVERY)


def sealed(exit_code: int = 0, stdout: bytes = b"hello\n", **more: object) -> tuple[int, str, str]:
    opened = open_envelope(wrap(DELIVERY), {})
    assert opened is not None
    values = {"stderr": b"", "boot_id": "b", "started": 1.0, "ended": 2.0, "replayed": False, **more}
    code, out, err = opened.seal(exit_code=exit_code, stdout=stdout, **values)  # type: ignore[arg-type]
    return code, out.decode(), err.decode()


def judged(answer: Answer, *, wrapped: bool = True, ok: tuple[int, ...] = (0,)) -> Outcome:
    return judge_answer(answer, nonce=NONCE if wrapped else None, digest=DIGEST, ok_exit=ok)


def combined(stdout: str, stderr: str = "") -> Answer:
    return Answer(combined=f"Enable succeeded: \n[stdout]\n{stdout}\n[stderr]\n{stderr}")


def test_the_action_tells_an_exit_code_through_its_receipt() -> None:
    """On Linux the action reports success for exit 3; the receipt tells the truth."""
    _, out, err = sealed(3)
    outcome = judged(combined(out, err))
    assert (outcome.status, outcome.exit_code, outcome.verified) == (Status.FAILED, 3, True)


def test_a_listed_exit_code_is_a_success() -> None:
    """``ok: {exit: [0, 80]}`` makes 80 a success."""
    _, out, err = sealed(80)
    assert judged(combined(out, err), ok=(0, 80)).status is Status.SUCCEEDED


def test_no_receipt_no_success() -> None:
    """A wrapped script whose receipt is missing is unverified, even when the service says exit code 0."""
    assert judged(combined("hello\n")).cause.code is CauseCode.NO_RECEIPT
    outcome = judged(Answer("Succeeded", "Execution completed", 0, "hello\n"))
    assert (outcome.status, outcome.cause.code) == (Status.UNVERIFIED, CauseCode.NO_RECEIPT)


def test_another_script_is_not_ours() -> None:
    """A receipt that names another script's digest proves nothing."""
    _, out, err = sealed()
    outcome = judge_answer(combined(out, err), nonce=NONCE, digest="0" * 64, ok_exit=(0,))
    assert (outcome.status, outcome.cause.code) == (Status.UNVERIFIED, CauseCode.RECEIPT_MISMATCH)


def test_an_unfinished_script_is_unknown() -> None:
    """The handler calls a script that a reboot cut off a success; it is unknown."""
    outcome = judged(Answer(combined="Enable succeeded: Last script execution didn't finish."))
    assert (outcome.status, outcome.cause.code) == (Status.UNKNOWN, CauseCode.INTERRUPTED_IN_GUEST)


def test_the_instance_view_proves_what_went_unwrapped() -> None:
    """Unwrapped managed commands are judged by state and exit code together."""
    assert judged(Answer("Succeeded", "", 0, "x"), wrapped=False).status is Status.SUCCEEDED
    failed = judged(Answer("Failed", "", 127, "", "not found"), wrapped=False)
    assert (failed.status, failed.exit_code, failed.verified) == (Status.FAILED, 127, True)


def test_running_with_exit_code_zero_is_no_success() -> None:
    """Recorded after a failure: state Running, exit code 0. It is unverified."""
    assert judged(Answer("Running", "Execution failed", 0), wrapped=False).status is Status.UNVERIFIED
    assert judged(Answer("Failed", "", 0), wrapped=False).status is Status.UNVERIFIED


def test_negative_codes_are_the_handlers_own() -> None:
    """A negative exit code comes from the handler, not from the script."""
    outcome = judged(Answer("Failed", "run-as user not found", -102))
    assert (outcome.status, outcome.cause.code) == (Status.FAILED, CauseCode.HANDLER_ERROR)


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"timed_out": True}, Status.TIMED_OUT, CauseCode.GUEST_TIMEOUT),
        ({"signal": 9}, Status.FAILED, CauseCode.SIGNAL),
        ({"interrupted": True}, Status.UNKNOWN, CauseCode.INTERRUPTED_IN_GUEST),
        ({"interrupted": True, "fault": "disk_full"}, Status.UNKNOWN, CauseCode.INTERRUPTED_IN_GUEST),
        ({"timed_out": True, "fault": "disk_full"}, Status.TIMED_OUT, CauseCode.GUEST_TIMEOUT),
        ({"fault": "disk_full"}, Status.FAILED, CauseCode.DISK_FULL),
        ({"fault": "no_room"}, Status.FAILED, CauseCode.DISK_FULL),
        ({"fault": "no_interpreter"}, Status.FAILED, CauseCode.NO_INTERPRETER),
        ({"signal": 9, "fault": "out_of_memory"}, Status.FAILED, CauseCode.OUT_OF_MEMORY),
    ],
)
def test_how_the_wrapper_saw_it_end(more: dict[str, object], status: Status, code: CauseCode) -> None:
    """Time-outs, signals, interrupted scripts and faults are told apart by the receipt, whatever exit code is accepted."""
    _, out, err = sealed(0, **more)
    outcome = judged(combined(out, err), ok=(0,))
    assert (outcome.status, outcome.cause.code) == (status, code)


def test_what_was_not_started_has_no_exit_code() -> None:
    """On a disk that is full the script has no exit code, and none of it may still run."""
    _, out, err = sealed(125, b"", fault="no_room")
    outcome = judged(combined(out, err), ok=(0, 125))
    assert (outcome.status, outcome.exit_code, outcome.verified, outcome.may_still_run) == (
        Status.FAILED,
        None,
        True,
        False,
    )


def test_a_signal_reads_as_a_shell_tells_it() -> None:
    """A script killed by signal 9 has exit code 137."""
    _, out, err = sealed(0, signal=9)
    assert judged(combined(out, err)).exit_code == 137


@pytest.mark.parametrize(
    ("code", "message", "cancelled", "status", "cause"),
    [
        ("VMExtensionProvisioningTimeout", "timed out", False, Status.TIMED_OUT, CauseCode.SERVICE_TIMEOUT),
        ("VMAgentStatusCommunicationError", "no agent", False, Status.UNKNOWN, CauseCode.AGENT_NOT_READY),
        ("InternalExecutionError", "An internal execution error", False, Status.UNKNOWN, CauseCode.NO_ANSWER),
        ("ResultMissing", "the operation succeeded", False, Status.UNKNOWN, CauseCode.NO_ANSWER),
        (
            "VMExtensionProvisioningError",
            "VM agent on VM 'v' has not reported latest status for extension 'RunCommandLinux'.",
            False,
            Status.UNKNOWN,
            CauseCode.NO_ANSWER,
        ),
        ("OperationPreempted", "preempted by a more recent operation", True, Status.UNKNOWN, CauseCode.NO_ANSWER),
        ("X", "command terminated with exit status=-1", False, Status.TIMED_OUT, CauseCode.SERVICE_TIMEOUT),
        ("X", "command terminated with exit status=-204", False, Status.FAILED, CauseCode.HANDLER_ERROR),
        (
            "VMExtensionProvisioningError",
            "command terminated with exit status=100\n[stdout]",
            False,
            Status.FAILED,
            CauseCode.EXIT_CODE,
        ),
        ("VMExtensionHandlerNonTransientError", "", False, Status.FAILED, CauseCode.OPERATION_FAILED),
        ("Canceled", "", True, Status.CANCELLED, CauseCode.CANCELLED),
    ],
)
def test_failed_operations(code: str, message: str, cancelled: bool, status: Status, cause: CauseCode) -> None:
    """An operation that ends without a result becomes an outcome by its code."""
    outcome = judge_failure(code, message, cancelled)
    assert (outcome.status, outcome.cause.code) == (status, cause)


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("TimedOut", Status.TIMED_OUT, CauseCode.GUEST_TIMEOUT),
        ("Canceled", Status.CANCELLED, CauseCode.CANCELLED),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_service_says_how_it_ended_the_script(state: str, status: Status, code: CauseCode, wrapped: bool) -> None:
    """What it says is kept. Its exit code is its own and never the script's, so none is shown and none is proven."""
    outcome = judged(Answer(state, "as the service says", -1, "out", "err"), wrapped=wrapped)
    assert outcome == Outcome(status, Cause(code, "as the service says"), None, "out", "err", verified=False)


def test_a_receipt_tells_everything() -> None:
    """Output, lengths, digests, the VM's boot, and whether the answer is one kept from before, all come from the receipt."""
    _, out, err = sealed(3, stdout=b"hello\n", stderr=b"oh\n", boot_id="boot-7", replayed=True)
    outcome = judged(combined(out, err))
    assert (outcome.stdout, outcome.stderr, outcome.truncated) == ("hello\n", "oh\n", False)
    assert (outcome.boot_id, outcome.replayed, outcome.cause) == (
        "boot-7",
        True,
        Cause(CauseCode.EXIT_CODE, "exit code 3"),
    )
    for extent, text in ((outcome.stdout_extent, b"hello\n"), (outcome.stderr_extent, b"oh\n")):
        assert extent == Extent(len(text), hashlib.sha256(text).hexdigest())


def test_an_interrupted_script_is_not_proven() -> None:
    """Its receipt is genuine, and says that nobody knows how far the script came."""
    _, out, err = sealed(0, interrupted=True)
    outcome = judged(combined(out, err))
    assert (outcome.verified, outcome.exit_code) == (False, None)
    assert judged(combined(*sealed(0)[1:])).verified


def test_a_listed_signal_is_a_success() -> None:
    """Where 137 is listed as fine, a script killed by signal 9 ended well; else the sentence names the signal."""
    _, out, err = sealed(0, signal=9)
    assert judged(combined(out, err), ok=(137,)).cause == Cause(CauseCode.COMPLETED)
    assert judged(combined(out, err)).cause == Cause(CauseCode.SIGNAL, "exit code 137: ended by signal 9")


@pytest.mark.parametrize("text", [UNFINISHED, f"Enable succeeded: {UNFINISHED}", f"x\n{UNFINISHED}\n\n"])
def test_the_handlers_last_word_is_believed(text: str) -> None:
    """At the end of what the handler says, the sentence means what it says; in the middle a script printed it."""
    assert judged(Answer(combined=text)).cause.code is CauseCode.INTERRUPTED_IN_GUEST
    assert judged(Answer(combined=f"{text} more")).cause.code is CauseCode.NO_RECEIPT


def test_the_instance_view_may_say_that_it_was_cut_off() -> None:
    """The managed handler says it in its message."""
    assert judged(Answer("Succeeded", UNFINISHED, 0)).cause.code is CauseCode.INTERRUPTED_IN_GUEST


@pytest.mark.parametrize("wrapped", [True, False])
def test_nothing_proves_a_command_without_state_or_code(wrapped: bool) -> None:
    """Either alone is not enough; what was printed is kept."""
    code = CauseCode.NO_RECEIPT if wrapped else CauseCode.NO_EXIT_CODE
    for answer in (Answer("Succeeded", "", None, "out"), Answer("", "", 0, "out")):
        outcome = judged(answer, wrapped=wrapped)
        assert (outcome.status, outcome.cause.code, outcome.stdout) == (Status.UNVERIFIED, code, "out")


@pytest.mark.parametrize(
    ("exit_code", "message", "status", "cause"),
    [
        (-100, "said", Status.FAILED, CauseCode.HANDLER_ERROR),
        (-224, "said", Status.FAILED, CauseCode.HANDLER_ERROR),
        (3, "Execution failed: failed to get configuration: no source", Status.FAILED, CauseCode.HANDLER_ERROR),
        (-1, "Execution failed: command terminated with exit status=-1", Status.TIMED_OUT, CauseCode.SERVICE_TIMEOUT),
        (3, "Execution failed: command terminated with exit status=-1", Status.TIMED_OUT, CauseCode.SERVICE_TIMEOUT),
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_code_that_the_service_made_up_is_never_the_script_s(
    exit_code: int, message: str, status: Status, cause: CauseCode, wrapped: bool
) -> None:
    """Its time limit, its failure to read the command: such a row has no exit code, proves nothing, keeps the message."""
    outcome = judged(Answer("Failed", message, exit_code), wrapped=wrapped)
    assert outcome == Outcome(status, replace(outcome.cause, code=cause, message=message))
    assert outcome.may_still_run == (status is Status.TIMED_OUT)


@pytest.mark.parametrize(
    ("exit_code", "message", "told"),
    [
        (1, "said", 1),
        (127, "Execution failed: failed to execute command: command terminated with exit status=127", 127),
        (3, "Execution failed: failed to execute command: command terminated with exit status=7", 7),
        (-1073741819, "", -1073741819),
        (3, "command terminated with exit status=" + "9" * 5000, 3),
    ],
)
def test_the_script_s_own_code_is_told(exit_code: int, message: str, told: int) -> None:
    """Also where the handler of 2022 and 2023 gave 3 for each failure, and where Windows has negative codes."""
    outcome = judged(Answer("Failed", message, exit_code), wrapped=False)
    assert (outcome.status, outcome.exit_code, outcome.verified) == (Status.FAILED, told, True)


@pytest.mark.parametrize("exit_code", [0, 1, 2, 3, 124, 125, 126, 127, 137, 255])
@pytest.mark.parametrize("state", ["Succeeded", "Failed"])
def test_with_receipts_on_a_code_without_a_receipt_is_never_proven(state: str, exit_code: int) -> None:
    """It is the wrapper's own and says nothing about the script, which may still run."""
    outcome = judged(Answer(state, "", exit_code, "out", "not found"))
    assert (outcome.status, outcome.cause.code) == (Status.UNVERIFIED, CauseCode.NO_RECEIPT)
    assert (outcome.exit_code, outcome.verified, outcome.stderr) == (None, False, "not found")
    assert outcome.may_still_run


@pytest.mark.parametrize(
    ("exit_code", "line"),
    [
        (125, "base64 cannot be decoded here; the script was not started"),
        (127, "bash is not installed on this machine"),
    ],
)
def test_a_wrapper_that_starts_nothing_says_so(exit_code: int, line: str) -> None:
    """Nothing ran, and why is told; where another line comes last, nothing is known."""
    outcome = judged(Answer("Failed", "", exit_code, "", f"noise\nfleet: {line}\n"))
    assert outcome == Outcome(
        Status.FAILED, Cause(CauseCode.WRAPPER_REFUSED, line), stderr=f"noise\nfleet: {line}\n", verified=False
    )
    assert not outcome.may_still_run
    assert judged(Answer("Failed", "", exit_code, "", f"fleet: {line}\nmore")).status is Status.UNVERIFIED
    assert judged(Answer("Failed", "", 2, "", f"fleet: {line}\n")).status is Status.UNVERIFIED


def test_a_receipt_decides_before_any_sentence_of_the_service() -> None:
    """A script that prints the handler's own words is judged by its receipt, whether it failed or not."""
    for code, status in ((0, Status.SUCCEEDED), (3, Status.FAILED)):
        _, out, err = sealed(code, stderr=UNFINISHED.encode() + b"\n")
        outcome = judged(combined(out, err))
        assert (outcome.status, outcome.exit_code, outcome.verified) == (status, code, True)
        assert judged(Answer("Failed", UNFINISHED, code, out, err)).status is status
    unwrapped = judged(combined("done\n", UNFINISHED), wrapped=False)
    assert unwrapped.cause.code is CauseCode.NO_EXIT_CODE


def test_an_old_handler_s_exit_status_is_read() -> None:
    """The code stands in the text, of any length; nothing proves it, and with receipts on nothing is known."""
    text = "command terminated with exit status=7"
    outcome = judge_failure("VMExtensionProvisioningError", text, False)
    assert outcome == Outcome(
        Status.FAILED, Cause(CauseCode.EXIT_CODE, f"VMExtensionProvisioningError: {text}"), exit_code=7
    )
    assert judge_failure("X", text, False, wrapped=True).status is Status.UNVERIFIED
    long = judge_failure("VMExtensionProvisioningError", "command terminated with exit status=" + "9" * 5000, False)
    assert (long.status, long.cause.code) == (Status.FAILED, CauseCode.OPERATION_FAILED)
    assert judge_failure("Odd", "", False).cause.message == "Odd"


@pytest.mark.parametrize("message", ["provisioning ended Failed without saying why", "Execution in progress"])
def test_provisioning_that_failed_without_a_reason_says_nothing_of_the_script(message: str) -> None:
    """The operation that knew why cannot be read; the script may have ended well, and may still run."""
    outcome = judge_failure("ProvisioningFailed", message, False, wrapped=True)
    assert (outcome.status, outcome.cause.code, outcome.exit_code) == (Status.UNKNOWN, CauseCode.NO_ANSWER, None)
    assert outcome.may_still_run


def test_an_unchanged_command_names_what_it_shows() -> None:
    """The sentence says since when the result stands and, where there is more to say, how that ended."""
    bare = unchanged(Cause(CauseCode.COMPLETED), "2026-01-01")
    assert (bare.code, bare.message) == (
        CauseCode.UNCHANGED,
        "not run again, because nothing had changed: this is the result of 2026-01-01",
    )
    assert unchanged(Cause(CauseCode.EXIT_CODE, "exit code 3"), "x").message.endswith(
        "of x; that ended with: exit code 3"
    )


def test_a_machine_that_cannot_hash_is_named_with_what_it_lacks() -> None:
    """Its receipt does not say which script ran; the hint names the tools, one of which helps."""
    code, out, err = sealed(0)
    outcome = judged(Answer("Succeeded", "", code, out.replace(f"script={DIGEST}", "script=-"), err))
    assert (outcome.status, outcome.cause.code) == (Status.UNVERIFIED, CauseCode.RECEIPT_MISMATCH)
    assert "sha256sum" in outcome.cause.hint


ENABLE_FAILED = (
    "Enable failed: failed to execute command: command terminated with exit status={code}\n"
    "[stdout]\n{out}\n\n[stderr]\n"
)


def unwrapped(answer: Answer, ok: tuple[int, ...] = (0,)) -> Outcome:
    return judge_answer(answer, nonce=None, digest="", ok_exit=ok)


@given(st.integers(1, 255), st.text(max_size=30))
def test_a_failed_action_without_a_receipt_has_the_code_that_the_service_reports(code: int, out: str) -> None:
    """It is a failure, by the service's word alone: with an exit code, not verified, and over."""
    outcome = unwrapped(Answer(combined=ENABLE_FAILED.format(code=code, out=out)))
    assert (outcome.status, outcome.cause.code, outcome.exit_code) == (Status.FAILED, CauseCode.EXIT_CODE, code)
    assert not outcome.verified and not outcome.may_still_run
    assert str(code) in outcome.cause.message


@pytest.mark.parametrize("code", [3, -101, -1])
def test_an_exit_code_that_was_read_before_proves_no_more(code: int) -> None:
    """Where the service's words were read into the answer already, the verdict is the same."""
    text = ENABLE_FAILED.format(code=code, out="")
    read = Answer("Failed", f"command terminated with exit status={code}", code, combined=text)
    found, wanted = unwrapped(read), unwrapped(Answer(combined=text))
    assert (found.status, found.cause.code, found.exit_code) == (wanted.status, wanted.cause.code, wanted.exit_code)
    assert not found.verified


def test_an_accepted_exit_code_that_nothing_proves_is_unverified() -> None:
    """The service's word is enough for a failure, and not for a success."""
    outcome = unwrapped(Answer(combined=ENABLE_FAILED.format(code=3, out="")), ok=(0, 3))
    assert (outcome.status, outcome.cause.code) == (Status.UNVERIFIED, CauseCode.NO_EXIT_CODE)
    assert "exit code 3" in outcome.cause.message


@pytest.mark.parametrize(
    ("answer", "status", "cause"),
    [
        (Answer(combined="Enable failed: boom"), Status.FAILED, CauseCode.HANDLER_ERROR),
        (Answer("Failed", combined="boom"), Status.FAILED, CauseCode.HANDLER_ERROR),
        (Answer("Failed", "boom", combined=""), Status.FAILED, CauseCode.HANDLER_ERROR),
        (Answer(combined=ENABLE_FAILED.format(code=-1, out="")), Status.TIMED_OUT, CauseCode.SERVICE_TIMEOUT),
        (Answer(combined=ENABLE_FAILED.format(code=-101, out="")), Status.FAILED, CauseCode.HANDLER_ERROR),
        (
            Answer(combined="[stdout]\nEnable failed: exit status=3\n[stderr]\n"),
            Status.UNVERIFIED,
            CauseCode.NO_EXIT_CODE,
        ),
        (Answer(combined="Enable succeeded: \n[stdout]\nhi\n"), Status.UNVERIFIED, CauseCode.NO_EXIT_CODE),
    ],
)
def test_what_an_actions_handler_says_of_itself(answer: Answer, status: Status, cause: CauseCode) -> None:
    """Its own words stand before the streams; a script that prints the same fools nobody."""
    outcome = unwrapped(answer)
    assert (outcome.status, outcome.cause.code, outcome.exit_code) == (status, cause, None)


def test_a_wrapper_that_failed_without_a_receipt_proves_nothing() -> None:
    """Its exit code is not the script's, whichever Run Command reports it."""
    outcome = judge_answer(
        Answer(combined=ENABLE_FAILED.format(code=3, out="")), nonce="n" * 32, digest="d", ok_exit=(0,)
    )
    assert (outcome.status, outcome.cause.code) == (Status.UNVERIFIED, CauseCode.NO_RECEIPT)


def test_the_exit_code_in_the_words_of_custom_scripts_is_read() -> None:
    """As it was seen; the hint that the VM may have restarted stays in the message."""
    text = (
        "Error message: 'Command execution finished, but failed because it returned a non-zero exit code of: '1'. Command"
        " execution may have been interrupted by a VM restart'."
    )
    outcome = judge_failure("VMExtensionProvisioningError", text, False)
    assert (outcome.status, outcome.cause.code, outcome.exit_code) == (Status.FAILED, CauseCode.EXIT_CODE, 1)
    assert "VM restart" in outcome.cause.message


@pytest.mark.parametrize("nonce", [NONCE, None])
@pytest.mark.parametrize("why", ["ProvisioningState/failed/1: Enable failed: boom", ""])
def test_a_command_that_azure_calls_failed_is_a_failure(nonce: str | None, why: str) -> None:
    """Without a receipt and an exit code its word stands: failed, not verified, and whether it runs still is not known."""
    answer = Answer(execution_state="Failed", execution_message=why)
    outcome = judge_answer(answer, nonce=nonce, digest="d", ok_exit=(0,))
    assert (outcome.status, outcome.cause.code, outcome.verified) == (
        Status.FAILED,
        CauseCode.OPERATION_FAILED,
        False,
    )
    assert outcome.may_still_run and why in outcome.cause.message
    assert "the script ended" not in outcome.cause.message
