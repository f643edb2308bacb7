"""Log lines: one event, one line, no secret."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
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


def test_the_log_shows_what_cannot_be_seen(lines: io.StringIO) -> None:
    """Fillers, joiners and variation selectors show by number, letters of every script as they are."""
    logs.set_up(stream=lines)
    LOG.warning("job_ended", stdout="naïve \u3164 \ufe0f \u200d \U000e0100 ü")
    assert r"naïve \u3164 \ufe0f \u200d \U000e0100 ü" in lines.getvalue()


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
        ("{'id_token': 'abc', 'n': 1}", "{'id_token': '***', 'n': 1}"),
        (r'{"body": "{\"refresh_token\": \"abc\", \"n\": 1}"}', r'{"body": "{\"refresh_token\": \"***\", \"n\": 1}"}'),
        ('{"Client_Secret":"abc"}', '{"Client_Secret":"***"}'),
        ("client_assertion=abc;x", "client_assertion=***;x"),
        ("assertion=abc x", "assertion=*** x"),
        ("Password=abc&x", "Password=***&x"),
        ("AccountName=n;AccountKey=abc;x", "AccountName=n;AccountKey=***;x"),
        ("https%3a%2f%2fm%3ft%3dT0%26sig%3dab%26x%3d1", "https%3a%2f%2fm%3ft%3d***"),
        (r"https://m/x?a=1\u0026sig=abc\u0026b=2", r"https://m/x?a=1\u0026sig=***\u0026b=2"),
        ("next=%2fo%3fa%3d1%26sig%3dab", "next=%2fo%3fa%3d1%26sig%3d***"),
        ("a;c=C;d=D", "a;c=***"),
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


def in_small(encoded: str) -> str:
    """URL encoding with small letters, as some libraries write it."""
    return re.sub("%..", lambda found: found[0].lower(), encoded)


AWKWARD = '"p/ä+ ~\'\\"'
"""A value that every encoding changes at both of its ends."""


@pytest.mark.parametrize(
    "encode",
    [
        str,
        json.dumps,
        lambda value: json.dumps(value, ensure_ascii=False),
        lambda value: json.dumps(json.dumps(value)[1:-1]),
        lambda value: json.dumps(json.dumps(value, ensure_ascii=False)[1:-1]),
        lambda value: json.dumps(value).replace("/", "\\/"),
        lambda value: json.dumps(value, ensure_ascii=False).replace("/", "\\/"),
        lambda value: f"'{repr(value)[1:-1]}'",
        quote,
        quote_plus,
        lambda value: quote(value, safe=""),
        lambda value: in_small(quote(value)),
        lambda value: in_small(quote(value, safe="")),
        lambda value: in_small(quote_plus(value)),
    ],
)
def test_nothing_of_a_value_is_left(encode: Callable[[str], str]) -> None:
    """A value is masked whole, however it was written: no character of it stays before or after the mask."""
    left = logs.without(f"<{encode(AWKWARD)}>", frozenset({AWKWARD}))
    assert left in ("<***>", '<"***">', "<'***'>")


@pytest.mark.parametrize("secret", ["abcde", "abcdef", "abcdefg", "ab~~?>>", "abcdeW"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_nothing_of_a_value_in_base64_is_left(secret: str, encode: Callable[[bytes], bytes]) -> None:
    """Base64 of a value alone is masked whole, with padding and without, also of what PowerShell encodes."""
    for raw in (secret.encode(), secret.encode("utf-16-le")):
        text = encode(raw).decode()
        assert logs.without(f"<{text}>", frozenset({secret})) == "<***>"
        assert logs.without(f"<{text.rstrip('=')}>", frozenset({secret})) == "<***>"


@pytest.mark.parametrize("secret", [b"abcdef", b"~~~???", b"abcdeW"])
@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(b"", b"xyz", ("", "eHl6")), (b"123", b"xyz", ("MTIz", "eHl6")), (b"1", b"yz", (2, 3)), (b"12", b"z", (3, 2))],
)
def test_nothing_of_a_value_inside_base64_is_left(
    secret: bytes, before: bytes, after: bytes, kept: tuple[str | int, str | int]
) -> None:
    """Inside longer base64 every character that only the value decides is masked; those it shares may stay."""
    text = base64.b64encode(before + secret + after).decode()
    start, end = kept
    head = text[:start] if isinstance(start, int) else start
    tail = text[-end:] if isinstance(end, int) else end
    assert logs.without(text, frozenset({secret.decode()})) == f"{head}***{tail}"


def test_a_value_whose_end_shares_a_character() -> None:
    """Seven bytes at the beginning of a text decide nine characters and a part of the tenth, which stays."""
    text = base64.b64encode(b"abcdefgxyz").decode()
    assert logs.without(text, frozenset({"abcdefg"})) == f"***{text[9:]}"


def test_a_value_that_ends_as_padding_might() -> None:
    """Only padding is taken off the end of base64, never a character of the value."""
    text = base64.b64encode(b"1abcdefgWxyz").decode()
    assert logs.without(text, frozenset({"abcdefgW"})) == f"{text[:2]}***{text[12:]}"


def test_a_value_that_begins_like_another_is_masked_whole() -> None:
    """Of two values that begin alike the longer one is looked for first."""
    assert logs.without("<secretlonger>", frozenset({"secret", "secretlonger"})) == "<***>"


def test_half_a_character_is_a_value_too() -> None:
    """A lone surrogate, as a damaged environment gives it, breaks nothing."""
    assert logs.without("<pass\udc80word>", frozenset({"pass\udc80word"})) == "<***>"


def test_empty_values_conceal_nothing(lines: io.StringIO) -> None:
    """A secret that was not given does not mask every place between two characters."""
    logs.set_up(stream=lines)
    logs.conceal("")
    LOG.warning("said", text="plain")
    assert "text='plain'" in lines.getvalue()


TELLING = """
token secret passwd password pwd authorization Authorisation credentials assertion signature Set-Cookie
protected_parameters sas sas_url url-sas my_sig-x sig jwt Bearer x_bearer api_key apikey private_key account_key
AccessKey connection_string connectionstring
"""


@pytest.mark.parametrize("key", TELLING.split())
def test_every_telling_key_masks_its_value(lines: io.StringIO, key: str) -> None:
    """A value is masked by its key's name alone, and the line still says that there was one."""
    logs.set_up(stream=lines)
    LOG.warning("asked", keys={key: "abc"})
    assert f"{{'{key}': '***'}}" in lines.getvalue()


@pytest.mark.parametrize("key", ["sasquatch", "signal", "key", "design", "bearers", "vm", "monkey"])
def test_other_keys_stay_readable(lines: io.StringIO, key: str) -> None:
    """A name that only contains a short telling one masks nothing."""
    logs.set_up(stream=lines)
    LOG.warning("asked", keys={key: "abc"})
    assert f"{{'{key}': 'abc'}}" in lines.getvalue()


def test_what_is_nested_is_masked_and_kept(lines: io.StringIO) -> None:
    """Lists and tuples keep what is plain in them, numbers and None stay under any key, keys are searched too."""
    logs.set_up(stream=lines)
    logs.conceal("s3cr3t")
    LOG.warning("asked", a=["x", ("y", "s3cr3t")], b={"s3cr3t": 1}, token_seconds=1.5, token=None, has_token=True)
    for text in ("a=['x', ['y', '***']]", "b={'***': 1}", "token_seconds=1.5", "token=None", "has_token=True"):
        assert text in lines.getvalue()


def test_a_line_begins_with_its_moment(lines: io.StringIO) -> None:
    """The moment comes first, in UTC, then level, event and who said it."""
    logs.set_up(stream=lines)
    LOG.warning("said", a=1)
    moment = r"timestamp='\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z'"
    assert re.fullmatch(rf"{moment} level='warning' event='said' logger='fleet\.test' a=1\n", lines.getvalue())


@pytest.mark.parametrize(("verbose", "said"), [(1, []), (2, []), (3, ["debug", "info"]), (4, ["debug", "info"])])
def test_the_chatter_of_libraries_is_for_three_vs(lines: io.StringIO, verbose: int, said: list[str]) -> None:
    """What libraries say below a warning is shown from ``-vvv`` on."""
    logs.set_up(verbose=verbose, stream=lines)
    logging.getLogger("azure.core").debug("d")
    logging.getLogger("azure.core").info("i")
    assert re.findall(r"level='(\w+)'", lines.getvalue()) == said


@pytest.mark.parametrize(
    ("level", "named"), [(1, "debug"), (10, "debug"), (25, "info"), (39, "warning"), (40, "error"), (99, "critical")]
)
def test_odd_levels_of_libraries_have_a_name(lines: io.StringIO, level: int, named: str) -> None:
    """A level of a library's own is said under the standard one at or below it."""
    logs.set_up(verbose=3, stream=lines)
    logging.getLogger("odd").setLevel(1)
    logging.getLogger("odd").log(level, "between %s", "levels")
    assert f"level='{named}' event='library_said' logger='odd' message='between levels'" in lines.getvalue()


@pytest.mark.parametrize(("verbose", "detailed"), [(0, False), (1, False), (2, True), (3, True)])
def test_it_can_be_asked_whether_detail_is_read(lines: io.StringIO, verbose: int, detailed: bool) -> None:
    """A hot path need not make up what nobody reads: not before logging is set up, and then from ``-vv`` on."""
    assert LOG.is_detailed is False
    logs.set_up(verbose=verbose, stream=lines)
    assert LOG.is_detailed is detailed


@pytest.mark.parametrize(("verbose", "shown"), [(0, False), (1, True)])
def test_what_libraries_warn_of_while_signing_in_waits_for_v(lines: io.StringIO, verbose: int, shown: bool) -> None:
    """Each way to sign in that is not there is a warning of theirs; the error that follows says what matters."""
    logs.set_up(verbose=verbose, stream=lines)
    logging.getLogger("azure.identity._credentials.chained").warning("no way in")
    logging.getLogger("azure.core").warning("something else")
    assert ("level='info' event='library_said'" in lines.getvalue() and "no way in" in lines.getvalue()) is shown
    assert "something else" in lines.getvalue()
