"""The wrapper, really run: under every shell that can be /bin/sh on a Linux VM."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fleet.guest.delivery import Delivery, Shell, script_digest, secret_parameters
from fleet.guest.receipt import Reading, Receipt, read, verify
from fleet.guest.wrapper import wrap
from tests.patience import stretched

pytestmark = pytest.mark.slow

INTERPRETERS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
NASTY = [
    "",
    " ",
    "'",
    'it\'s "quoted" `id` $(id) $HOME \\ \\n \\',
    "^ & % < > | ; ! # ~ * ? [a] {b,c} %PATH%",
    "-n",
    "--",
    "two\nlines\n\n",
    "\ttabs\tand\rreturns\r\n",
    "\x01\x1b[31m\x7f",
    "grüße, 日本語, \u0081\u0088 \U0001f680",
    "x" * 100_000,
    "é" * 50_000,
    "FLEET_SCRIPT_0123456789abcdef",
]


@pytest.fixture(params=sorted(INTERPRETERS))
def interpreter(request: pytest.FixtureRequest) -> list[str]:
    command = INTERPRETERS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return command


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def delivery(script: str, **more: object) -> Delivery:
    given: dict[str, object] = {
        "shell": Shell.SH,
        "key": "run-step",
        "nonce": "0123456789abcdef",
        "timeout": 20.0,
    }
    return Delivery(script=script, **{**given, **more})  # type: ignore[arg-type]


class Guest:
    """One machine: an interpreter and a spool."""

    def __init__(self, interpreter: list[str], spool: Path) -> None:
        self.interpreter = interpreter
        self.spool = spool

    def start(
        self, order: Delivery, secrets: Mapping[str, str] | None = None, path: str | None = None
    ) -> subprocess.Popen[bytes]:
        self.spool.parent.mkdir(parents=True, exist_ok=True)
        file = self.spool.parent / f"delivered-{order.key}-{order.nonce}.sh"
        file.write_text(wrap(order), encoding="utf-8", newline="")
        environment = {"PATH": path or os.environ["PATH"], "FLEET_SPOOL": str(self.spool)}
        command = [shutil.which(self.interpreter[0]) or "", *self.interpreter[1:], str(file)]
        return subprocess.Popen(
            command,
            env={**environment, **secret_parameters(secrets or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(
        self, order: Delivery, secrets: Mapping[str, str] | None = None, path: str | None = None
    ) -> tuple[int, bytes, bytes]:
        process = self.start(order, secrets, path)
        stdout, stderr = process.communicate(timeout=stretched(40))
        return process.returncode, stdout, stderr

    def answer(self, order: Delivery, **more: str) -> tuple[int, Reading, Receipt]:
        code, stdout, stderr = self.run(order, **more)  # type: ignore[arg-type]
        reading = read(stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"), order.nonce)
        assert reading.receipt is not None, (stdout, stderr)
        return code, reading, reading.receipt

    def kept(self, order: Delivery, stream: str) -> bytes:
        """What lies whole in the guest."""
        return (self.spool / order.key / stream).read_bytes()


@pytest.fixture
def guest(interpreter: list[str], spool: Path) -> Guest:
    return Guest(interpreter, spool)


def _wait_for(path: Path) -> None:
    """Wait until a script, which is another process, has made a file."""
    for _ in range(500):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.02)
    raise AssertionError(path)


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return True
    return state == "Z"


def _wait_gone(pid: int) -> bool:
    for _ in range(240):
        if _gone(pid):
            return True
        time.sleep(0.05)
    return False


SHOW = 'printf "%s\\0" "$VALUE" "$SECRET" "$#" "$@"\n'


def _check_lossless(guest: Guest, order: Delivery, secret: str) -> None:
    code, stdout, stderr = guest.run(order, {"SECRET": secret})
    reading = read(stdout.decode(), stderr.decode(), order.nonce)
    kept = guest.kept(order, "stdout").decode()
    assert (code, reading.receipt and reading.receipt.stderr_length) == (0, 0)
    assert kept.split("\0") == [order.env["VALUE"], secret, str(len(order.args)), *order.args, ""]
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).verified


@pytest.mark.parametrize("value", NASTY, ids=lambda value: repr(value[:12]))
def test_nasty_values_arrive_unchanged(guest: Guest, value: str) -> None:
    """Environment, secrets and arguments arrive byte for byte, whatever they hold."""
    args = (value, "", value) if len(value) < 1000 else (value,)
    order = delivery(SHOW, shell=Shell.BASH, env={"VALUE": value}, args=args, secret_names=("SECRET",))
    _check_lossless(guest, order, value[:40_000])


_values = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(value="\n", secret="\n\n", args=["\n"])
@given(value=_values, secret=_values, args=st.lists(_values, max_size=4))
def test_any_values_arrive_unchanged(guest: Guest, value: str, secret: str, args: list[str]) -> None:
    """No text of Unicode is changed on its way into the script."""
    shutil.rmtree(guest.spool, ignore_errors=True)
    order = delivery(SHOW, env={"VALUE": value}, args=tuple(args), secret_names=("SECRET",))
    _check_lossless(guest, order, secret)


@pytest.mark.parametrize("code", [0, 1, 3, 80, 127, 128, 193, 255])
def test_exit_codes_come_back(guest: Guest, code: int) -> None:
    """The receipt and the wrapper both say the script's exit code."""
    wrapper_code, _, receipt = guest.answer(delivery(f"trap 'echo bye' EXIT\nset -e\nexit {code}"))
    assert (wrapper_code, receipt.exit_code, receipt.signal) == (code, code, None)


@pytest.mark.parametrize("name", ["INT", "QUIT", "KILL", "TERM", "SEGV", "PIPE"])
def test_signals_come_back(guest: Guest, name: str) -> None:
    """A script that a signal ends has no exit code; no shell adds a word of its own to stderr."""
    number = signal.Signals[f"SIG{name}"].value
    code, reading, receipt = guest.answer(delivery(f"ulimit -c 0; kill -{name} $$; echo not reached"))
    assert (code, receipt.exit_code, receipt.signal) == (128 + number, None, number)
    assert (reading.stdout, reading.stderr, receipt.timed_out) == ("", "", False)


def test_scripts_keep_their_text(guest: Guest) -> None:
    """The script's file holds the user's text: expansions, here-documents, tabs and UTF-8 untouched."""
    text = 'cat "$0"\n: $(id) `id` \\\\ \'x\' "y"\n\tcat <<EOF >/dev/null\n日本 \u0081\nEOF\n# fin\'\n\n\n'
    _, reading, receipt = guest.answer(delivery(text))
    assert reading.stdout == text
    assert receipt.script_digest == script_digest(delivery(text))


def test_line_ends_become_line_feeds(guest: Guest) -> None:
    """A script written on Windows runs as if written on Linux."""
    _, reading, _ = guest.answer(delivery("\ufeffif true\r\nthen echo yes\r\nfi"))
    assert reading.stdout == "yes\n"


def test_the_chosen_shell_runs_the_script(guest: Guest) -> None:
    """Scripts for bash may use what only bash knows."""
    _, reading, _ = guest.answer(delivery('a=(x y); echo "${a[1]}"', shell=Shell.BASH))
    assert reading.stdout == "y\n"


def test_stdin_is_closed_and_umask_is_kept(guest: Guest) -> None:
    """A script that reads stdin finds its end at once, and files it makes have the usual mode."""
    before = os.umask(0o027)
    try:
        _, reading, _ = guest.answer(delivery("cat; umask; echo end"))
    finally:
        os.umask(before)
    assert reading.stdout.split() == ["0027", "end"]


@pytest.mark.parametrize(
    "script",
    [
        "head -c 102400 /dev/zero | tr '\\0' 'x'; head -c 102400 /dev/zero | tr '\\0' 'y' >&2",
        "printf 'no line end'; printf 'nor here' >&2",
        "printf '\\000\\377\\200\\r\\n\\nfleet-receipt v1'; printf '\\376' >&2",
        ":",
    ],
    ids=["100 KB", "no line end", "binary", "empty"],
)
def test_output_is_lossless(guest: Guest, script: str) -> None:
    """Both streams come back byte for byte, and the receipt says their lengths and digests."""
    bare = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    order = delivery(script)
    _, stdout, stderr = guest.run(order)
    assert (guest.kept(order, "stdout"), guest.kept(order, "stderr")) == (bare.stdout, bare.stderr)
    mark = stdout.rindex(b"\nfleet-receipt v1 nonce=")
    reading = read(stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"), order.nonce)
    if reading.ends is None:
        assert (stdout[:mark], stderr) == (bare.stdout, bare.stderr)
    verdict = verify(reading, nonce=order.nonce, digest=script_digest(order))
    assert (verdict.verified, verdict.truncated) == (True, len(bare.stdout) > 4096)
    assert len(stdout) - mark < 640


def test_files_are_private_and_hold_no_secret(guest: Guest) -> None:
    """Folders are 0700, files 0600, the script 0500; a secret's value, plain or encoded, is in none of them nor in argv."""
    order = delivery("ps -ef >/dev/null; cat /proc/[0-9]*/cmdline", secret_names=("TOKEN",))
    carried = secret_parameters({"TOKEN": "canary-5f1c"})["FLEET_SECRET_TOKEN"]
    _, stdout, _ = guest.run(order, {"TOKEN": "canary-5f1c"})
    files = [path for path in guest.spool.rglob("*") if not path.is_symlink()]
    assert {path.stat().st_mode & 0o777 for path in files if path.is_dir()} == {0o700}
    modes = {path.name: path.stat().st_mode & 0o777 for path in files if path.is_file()}
    assert modes.pop("script") == 0o500
    assert set(modes.values()) == {0o600}
    everything = b"".join(path.read_bytes() for path in files if path.is_file()) + stdout + wrap(order).encode()
    assert b"canary-5f1c" not in everything
    assert carried.encode() not in everything


def test_the_carrier_does_not_reach_the_script(guest: Guest) -> None:
    """The script sees a secret under its own name only, and never the wrapper's variables."""
    order = delivery("env | grep -ci '^fleet_secret'; env | grep -c '^fleet_'", secret_names=("TOKEN",))
    _, stdout, _ = guest.run(order, {"TOKEN": "x"})
    assert stdout.startswith(b"0\n0\n")


def test_a_missing_secret_stops_before_the_script(guest: Guest) -> None:
    """A secret that did not arrive is an error before the claim, so a later delivery may still run."""
    order = delivery("echo ran", secret_names=("TOKEN",))
    code, stdout, stderr = guest.run(order)
    assert (code, stdout) == (125, b"")
    assert b"the secret TOKEN did not arrive" in stderr
    assert guest.answer(order, secrets={"TOKEN": ""})[1].stdout == "ran\n"  # type: ignore[arg-type]


def test_timeout_ends_the_whole_group(guest: Guest, tmp_path: Path) -> None:
    """Out of time: the script and its grandchildren are ended, and the output so far comes back."""
    script = f"echo begun\nsh -c 'sleep 300 & echo $! >{tmp_path}/pid; wait' &\nsleep 300\necho not reached\n"
    code, reading, receipt = guest.answer(delivery(script, timeout=1.0))
    assert (code, receipt.timed_out, receipt.signal, receipt.exit_code) == (124, True, 15, None)
    assert reading.stdout == "begun\n"
    assert _wait_gone(int((tmp_path / "pid").read_text()))


def test_timeout_kills_what_ignores_it(spool: Path) -> None:
    """A script that ignores TERM is killed five seconds later."""
    _, _, receipt = Guest(["dash"], spool).answer(delivery("trap '' TERM\nwhile :; do sleep 1; done", timeout=1.0))
    assert (receipt.timed_out, receipt.signal) == (True, 9)


def test_a_script_in_time_is_not_timed_out(guest: Guest) -> None:
    """A script that ends before its limit keeps its exit code, and nobody waits for the limit."""
    code, _, receipt = guest.answer(delivery("exit 7", timeout=3600.0))
    assert (code, receipt.timed_out) == (7, False)


def test_a_second_delivery_returns_the_kept_answer(guest: Guest, tmp_path: Path) -> None:
    """The same key runs once; the second answer is the first one's, under the second one's nonce."""
    script = f"echo once >>{tmp_path}/count; echo out; echo err >&2; exit 4"
    first, second = delivery(script), delivery(script, nonce="fedcba9876543210")
    one, two = guest.answer(first), guest.answer(second)
    assert (tmp_path / "count").read_text() == "once\n"
    assert (one[2].replayed, two[2].replayed) == (False, True)
    assert (two[0], two[1].stdout, two[1].stderr) == (4, "out\n", "err\n")
    assert two[2].started == one[2].started
    assert verify(two[1], nonce=second.nonce, digest=script_digest(second)).verified


def test_another_script_under_the_same_key_is_noticed(guest: Guest) -> None:
    """A kept answer of another script is returned as what it is: the digest tells."""
    guest.answer(delivery("echo old"))
    other = delivery("echo new", nonce="fedcba9876543210")
    _, reading, _ = guest.answer(other)
    assert verify(reading, nonce=other.nonce, digest=script_digest(other)).reason == "wrong_script"


def test_concurrent_deliveries_run_once(guest: Guest, tmp_path: Path) -> None:
    """Deliveries at the same moment run the script once, and all of them answer."""
    script = f"echo once >>{tmp_path}/count; sleep 1; echo done"
    orders = [delivery(script, nonce=f"{number:016x}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(guest.answer, orders))
    assert (tmp_path / "count").read_text() == "once\n"
    assert sorted(answer[2].replayed for answer in answers) == [False, True, True, True]
    assert {answer[1].stdout for answer in answers} == {"done\n"}


def test_a_cancelled_wrapper_ends_the_script(guest: Guest, tmp_path: Path) -> None:
    """When the handler kills the wrapper's group, the script ends too and is never run again."""
    script = f"echo once >>{tmp_path}/count; echo so far; echo $$ >{tmp_path}/pid; sleep 300"
    process = guest.start(delivery(script))
    _wait_for(tmp_path / "pid")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=stretched(10))
    again = delivery(script, nonce="fedcba9876543210")
    code, reading, receipt = guest.answer(again)
    assert (code, receipt.interrupted, receipt.exit_code, receipt.signal) == (125, True, None, None)
    assert (reading.stdout, receipt.replayed) == ("so far\n", True)
    assert _wait_gone(int((tmp_path / "pid").read_text()))
    assert (tmp_path / "count").read_text() == "once\n"
    assert verify(reading, nonce=again.nonce, digest=script_digest(again)).verified


def test_a_claim_from_before_a_reboot_is_interrupted(guest: Guest, tmp_path: Path) -> None:
    """A claim of another boot without an answer is never run again, whatever process has its number now."""
    entry = guest.spool / "run-step"
    entry.mkdir(parents=True, mode=0o700)
    guest.spool.chmod(0o700)
    (entry / "claim").symlink_to(f"{os.getpid()}.1.2.00000000-0000-0000-0000-000000000000")
    code, reading, receipt = guest.answer(delivery(f"touch {tmp_path}/ran"))
    assert (code, receipt.interrupted, reading.stdout) == (125, True, "")
    assert not (tmp_path / "ran").exists()


def test_a_background_service_survives(guest: Guest, tmp_path: Path) -> None:
    """What a script leaves behind is neither waited for nor ended, and cannot change the answer."""
    order = delivery(f"sh -c 'sleep 30; echo late' & echo $! >{tmp_path}/pid; echo up")
    code, reading, _ = guest.answer(order)
    pid = int((tmp_path / "pid").read_text())
    assert (code, reading.stdout, _gone(pid)) == (0, "up\n", False)
    os.kill(pid, signal.SIGKILL)


TOOLS = [
    "cat",
    "chmod",
    "cp",
    "date",
    "find",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "sleep",
    "wc",
]


def _tools(folder: Path, *names: str) -> str:
    """Make a PATH with a few programs only."""
    folder.mkdir()
    for name in (*TOOLS, *names):
        where = shutil.which(name)
        assert where is not None, name
        (folder / name).symlink_to(where)
    return str(folder)


def test_a_bare_machine_still_answers(interpreter: list[str], spool: Path, tmp_path: Path) -> None:
    """Without sha256sum, openssl, busybox and setsid its digests are "-": it answers, and does not prove what ran."""
    if interpreter[0] == "busybox":
        pytest.skip("busybox sh brings its own sha256sum and setsid")
    order = delivery("echo out; exit 5")
    code, reading, receipt = Guest(interpreter, spool).answer(order, path=_tools(tmp_path / "bin", "sh"))
    assert (code, receipt.exit_code, receipt.script_digest, receipt.stdout_digest) == (5, 5, "-", "-")
    verdict = verify(reading, nonce=order.nonce, digest=script_digest(order))
    assert (verdict.verified, verdict.reason, verdict.stdout) == (False, "unhashed_script", "unchecked")


@pytest.mark.parametrize("tool", ["openssl", "busybox"])
def test_other_tools_stand_in(spool: Path, tmp_path: Path, tool: str) -> None:
    """Where sha256sum and base64 are missing, openssl or busybox do their work."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    order = delivery('printf %s "$VALUE"', env={"VALUE": "é\r\n"})
    path = _tools(tmp_path / "bin", "sh", tool)
    _, reading, _ = Guest(["dash"], spool).answer(order, path=path)
    assert reading.stdout == "é\r\n"
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).stdout == "matched"


def test_a_missing_bash_is_said(spool: Path, tmp_path: Path) -> None:
    """Without bash a script for bash answers 127 and says why."""
    order = delivery("echo x", shell=Shell.BASH)
    code, reading, receipt = Guest(["dash"], spool).answer(order, path=_tools(tmp_path / "bin", "sh", "sha256sum"))
    assert (code, receipt.exit_code) == (127, 127)
    assert reading.stderr == "fleet: bash is not installed on this machine\n"


def test_a_spool_that_others_may_enter_is_not_used(guest: Guest) -> None:
    """A receipts folder with a wider mode is refused, and the script does not run."""
    guest.spool.mkdir()
    guest.spool.chmod(0o755)
    code, stdout, stderr = guest.run(delivery("echo ran"))
    assert (code, stdout) == (125, b"")
    assert b"the script was not started" in stderr


def test_old_entries_go(guest: Guest) -> None:
    """Entries older than seven days are deleted after a run; younger ones stay."""
    guest.answer(delivery("echo x", key="old"))
    guest.answer(delivery("echo x", key="young"))
    week = (guest.spool / "old").stat().st_mtime - 8.5 * 86400
    os.utime(guest.spool / "old", (week, week))
    guest.answer(delivery("echo x", key="new"))
    assert sorted(path.name for path in guest.spool.iterdir()) == ["new", "young"]


def test_the_user_environment_cannot_break_the_wrapper(guest: Guest) -> None:
    """Variables that steer shells and tools reach the script without touching the wrapper."""
    env = {
        "PATH": "/nowhere",
        "IFS": "e0",
        "TMPDIR": "/nowhere",
        "BASH_ENV": "/nowhere",
        "CDPATH": "/",
        "PS4": "$(",
    }
    order = delivery('echo "$PATH $TMPDIR $CDPATH"', env=env)
    code, reading, _ = guest.answer(order)
    assert (code, reading.stdout, reading.stderr) == (0, "/nowhere /nowhere /\n", "")


@pytest.mark.parametrize("script", ["echo hi", "FLEET_SCRIPT_0123456789abcdef\nFLEET_SCRIPT_0123456789abcdef_\n}\n"])
def test_shellcheck_is_content(script: str) -> None:
    """The generated text is clean POSIX sh for every kind of value, all in one delivery: checking one takes a second."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    values = [value[:1000] for value in NASTY]
    env = {f"VALUE_{number}": value for number, value in enumerate(values)}
    order = delivery(script, env=env, args=tuple(values), secret_names=("SECRET",))
    checked = subprocess.run(
        ["shellcheck", "-s", "sh", "-"], input=wrap(order).encode(), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, b"")


def test_shellcheck_is_content_with_the_watchdog() -> None:
    """The watchdog, which the wrapper holds in quotes, is clean POSIX sh too."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    file = Path(__file__).parents[2] / "fleet" / "guest" / "watchdog.sh"
    checked = subprocess.run(["shellcheck", "-s", "sh", str(file)], capture_output=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, b"")


LOUD = r"""
printf 'first é\n'
echo oops >&2
while [ ! -e "$1" ]; do sleep 0.1; done
head -c 70000 /dev/zero
printf end
exit 3
"""


def test_a_live_wrapper_passes_on_what_comes(guest: Guest, tmp_path: Path) -> None:
    """Both streams are passed on while the script runs, each byte once, and the receipt alone stands behind them."""
    go = tmp_path / "go"
    order = delivery(LOUD, args=(str(go),), live=True)
    process = guest.start(order)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "first é\n".encode()
    assert process.stderr.readline() == b"oops\n"
    assert process.poll() is None
    go.touch()
    rest, err = process.communicate(timeout=stretched(40))
    whole = "first é\n".encode() + b"\0" * 70_000 + b"end"
    reading = read(("first é\n".encode() + rest).decode(), "oops\n", order.nonce)
    assert (process.returncode, err, reading.stdout.encode()) == (3, b"", whole)
    assert verify(reading, nonce=order.nonce, digest=script_digest(order)).verified
    cut = read(rest[-4096:].decode(), "oops\n", order.nonce)
    verdict = verify(cut, nonce=order.nonce, digest=script_digest(order))
    assert (verdict.verified, verdict.truncated) == (True, True)
    code, out, err = guest.run(delivery(LOUD, args=(str(go),), live=True, nonce="f" * 16))
    assert (code, out[: len(whole)], err) == (3, whole, b"oops\n")
    assert b"replayed=1" in out


def test_a_short_script_prints_the_same_live(guest: Guest) -> None:
    """A short script's bytes and exit code are the same, live or not."""
    for live in (False, True):
        order = delivery("printf 'a\\nb'; printf c >&2; exit 4", key=f"k{live}", live=live)
        code, reading, receipt = guest.answer(order)
        assert (code, reading.stdout, reading.stderr, receipt.exit_code) == (4, "a\nb", "c", 4)
