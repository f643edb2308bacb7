"""Log lines: one event, one line, no secret."""

from __future__ import annotations

import base64
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet import logs

LOG = logs.Log("fleet.test")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    monkeypatch.setattr(logs, "_concealed", set())
    monkeypatch.setattr(logs, "_threshold", 99)
    monkeypatch.setattr(logs, "_stream", None)
    yield io.StringIO()
    root.handlers, level = before
    root.setLevel(level)


@pytest.mark.parametrize(
    ("verbose", "quiet", "said"),
    [(0, 0, "we"), (1, 0, "iwe"), (2, 0, "diwe"), (9, 0, "diwe"), (0, 1, "e"), (0, 5, "e"), (1, 1, "we")],
)
def test_levels(lines: io.StringIO, verbose: int, quiet: int, said: str) -> None:
    """Warnings by default, more with each -v, errors only with -q."""
    logs.set_up(verbose=verbose, quiet=quiet, stream=lines)
    LOG.debug("d")
    LOG.info("i")
    LOG.warning("w")
    LOG.error("e")
    assert [line.split("event=")[1][1] for line in lines.getvalue().splitlines()] == list(said)


def test_silent_until_set_up(lines: io.StringIO) -> None:
    """Used as a library, Fleet writes nothing unless asked to."""
    LOG.error("nobody_listens")
    assert lines.getvalue() == ""


def test_one_line_each(lines: io.StringIO) -> None:
    """What a VM printed can neither forge a line nor move the cursor."""
    logs.set_up(stream=lines)
    LOG.warning("job_ended", stdout="a\nlevel='error' event='forged'\r\x1b[2J\u202e\u2028", exit_code=3)
    (line,) = lines.getvalue().splitlines()
    assert "level='warning' event='job_ended' logger='fleet.test'" in line
    assert line.isprintable()
    assert "exit_code=3" in line


def test_masks_by_key(lines: io.StringIO) -> None:
    """Values under telling names are masked wherever they are nested; counts and plain names are not."""
    logs.set_up(stream=lines)
    LOG.warning(
        "asked",
        access_token="hunter1",
        headers={"Authorization": "hunter2", "x-ms": "shown"},
        steps=[{"run_as_password": "hunter3"}],
        client_secret=["hunter4"],
        tokens=7,
        vm="web-1",
    )
    line = lines.getvalue()
    assert "hunter" not in line
    assert all(text in line for text in ("shown", "tokens=7", "vm='web-1'"))


def test_masks_concealed_values(lines: io.StringIO) -> None:
    """A concealed value shows in no line, in no key, and in no traceback."""
    logs.set_up(stream=lines)
    logs.conceal('it\'s a "quoted" \\ sécret')
    try:
        raise ValueError('it\'s a "quoted" \\ sécret')
    except ValueError as error:
        LOG.error("failed", error=error, exc_info=True, text='has it\'s a "quoted" \\ sécret inside')
    assert "cret" not in lines.getvalue()
    assert "ValueError" in lines.getvalue()


def test_libraries_are_masked_too(lines: io.StringIO) -> None:
    """What a library warns about goes the same way; what it chatters about is left out."""
    logs.set_up(stream=lines)
    logs.conceal("s3cr3t-value")
    logging.getLogger("azure.core").warning("using %s", "s3cr3t-value")
    logging.getLogger("azure.core").info("chatter")
    logging.getLogger("odd").log(35, "between levels")
    said = lines.getvalue().splitlines()
    assert len(said) == 2
    assert "using ***" in said[0]
    assert "logger='azure.core'" in said[0]


def test_closed_stream_is_no_error(lines: io.StringIO) -> None:
    """A terminal that is gone does not end a run."""
    logs.set_up(stream=lines)
    lines.close()
    LOG.error("nobody_reads")


SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=30)


@given(SECRETS, st.binary(max_size=7), st.binary(max_size=7))
def test_every_form_of_a_value(secret: str, before: bytes, after: bytes) -> None:
    """A value is found plain, JSON-escaped, URL-encoded, in base64 alone and inside longer base64."""
    values = frozenset({secret})
    raw = secret.encode()
    forms = [
        secret,
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        quote(secret, safe=""),
        quote(secret),
    ]
    forms += [quote_plus(secret), repr(secret)[1:-1], json.dumps(json.dumps(secret))]
    forms += [base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")]
    for form in forms:
        assert logs.MASK in logs.without(f"<{form}>", values)
    embedded = logs.without(base64.b64encode(before + raw + after).decode(), values)
    assert logs.MASK in embedded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://x.blob/o?sv=1&sig=ab%2Fc%3D&se=2", "https://x.blob/o?sv=1&sig=***&se=2"),
        (
            "https://m/operations/1?api-version=2024&t=638&c=MII&s=a_b-c&h=x",
            "https://m/operations/1?api-version=2024&t=***&c=***&s=***&h=***",
        ),
        ("Authorization: Bearer abc.def-ghi==", "Authorization: Bearer ***"),
        ("got eyJhbGciOiJ.eyJzdWIiOiI.c2ln", "got ***"),
        ("grant_type=x&client_secret=abc&scope=y", "grant_type=x&client_secret=***&scope=y"),
        ('{"access_token": "abc", "n": 1}', '{"access_token": "***", "n": 1}'),
        ("progress=4 of 5, items=3", "progress=4 of 5, items=3"),
    ],
)
def test_masks_by_shape(text: str, expected: str) -> None:
    """Signed URLs, bearer tokens and token answers are masked without being told about; the rest stays."""
    assert logs.without(text, frozenset()) == expected


def test_structlog_is_not_imported_in_vain() -> None:
    """A command that logs nothing does not pay for structlog."""
    program = """
import sys
from fleet import logs
logs.set_up()
logs.Log("x").info("y")
print("structlog" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
