"""Log lines to stderr: events with keys, one line each, and no secret in any of them.

Two nets. Values under telling keys (``token``, ``password``, ``authorization``...) are masked by name; then
the whole line is searched for every value handed to :func:`conceal`, in the forms it may have taken on its
way, and for what is secret by its shape: signed URLs, bearer tokens. structlog is imported with the first
line that is written.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote, quote_plus

from fleet.unseen import escaped

if TYPE_CHECKING:
    import structlog

MASK = "***"

_SECRET_KEY = re.compile(
    r"token|secret|passw|pwd|authori[sz]ation|credential|assertion|signature|cookie|protected"
    r"|(^|[_-])(sas|sig|jwt|bearer)($|[_-])|(api|private|account|access)_?key|connection_?string",
    re.IGNORECASE,
)
_SHAPES = (
    # Signed URLs. SAS: ``sig``. Operation URLs of ARM: ``t``, ``c``, ``s``, ``h`` (recorded in the headers
    # Azure-AsyncOperation and Location: time, certificate, signature, hash).
    re.compile(r"((?:[?&;]|%3f|%26|\\u0026)(?:sig|t|c|s|h)(?:=|%3d))[^&\s\"'<>\\]+", re.IGNORECASE),
    re.compile(r"(\bbearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE),
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),  # a JSON web token
    re.compile(r"(\b(?:client_secret|client_assertion|assertion|password|accountkey)=)[^&\s\"';<>]+", re.IGNORECASE),
    # Answers with tokens: JSON, JSON inside JSON, and how Python shows a dictionary.
    re.compile(
        r"(\\*[\"'](?:access_token|refresh_token|id_token|client_secret)\\*[\"']\s*:\s*\\*[\"'])[^\"'\\]+",
        re.IGNORECASE,
    ),
)
_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
_SHORTEST_EMBEDDED = 6
"""Bytes. Inside a longer base64 text only the middle of a value shows; a shorter one leaves too little."""

_concealed: set[str] = set()
_threshold = logging.CRITICAL + 1
_stream: TextIO | None = None


class Log:
    """A named source of log lines.

    Below the level that was set up nothing is written and nothing imported.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **keys: object) -> None:
        self._say(logging.DEBUG, event, keys)

    def info(self, event: str, **keys: object) -> None:
        self._say(logging.INFO, event, keys)

    def warning(self, event: str, **keys: object) -> None:
        self._say(logging.WARNING, event, keys)

    def error(self, event: str, **keys: object) -> None:
        self._say(logging.ERROR, event, keys)

    @property
    def is_detailed(self) -> bool:
        """Whether :meth:`debug` writes anything: a hot path need not make up what nobody reads."""
        return _threshold <= logging.DEBUG and _stream is not None

    def _say(self, level: int, event: str, keys: Mapping[str, object]) -> None:
        if level >= _threshold and _stream is not None:
            with suppress(OSError, ValueError):  # a closed terminal must not end a run
                _writer(_stream, _threshold).log(level, event, **{"logger": self._name, **keys})


def set_up(*, verbose: int = 0, quiet: int = 0, stream: TextIO | None = None) -> None:
    """Write log lines to ``stream`` (stderr) from now on. Called once, by the command line or a service.

    Warnings and errors by default; one ``-v`` adds info, two debug; ``-q`` leaves errors only. What libraries
    log goes the same way. Lines are key=value with Python's quoting, so a value never forges a second line
    and never moves the terminal's cursor.
    """
    global _threshold, _stream
    _threshold = _LEVELS[max(-1, min(2, verbose - quiet))]
    root = logging.getLogger()
    root.handlers = [_Forward()]
    root.setLevel(max(_threshold, logging.DEBUG if verbose > 2 else logging.WARNING))
    _stream = sys.stderr if stream is None else stream


def conceal(value: str) -> None:
    """Mask this value wherever it shows from now on: as it is, in base64, URL-encoded, JSON-escaped."""
    if value:
        _concealed.add(value)


def masked(text: str) -> str:
    """Return the text without any concealed value and without what is secret by its shape."""
    return without(text, frozenset(_concealed))


def without(text: str, values: frozenset[str]) -> str:
    """Return the text with these values, and what is secret by its shape, replaced by ``***``. Pure."""
    if values:
        text = _pattern(values).sub(MASK, text)
    for shape in _SHAPES:
        text = shape.sub(rf"\g<1>{MASK}", text)
    return text


@cache
def _pattern(values: frozenset[str]) -> re.Pattern[str]:
    forms = {form for value in values for form in _forms(value)}
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))))


def _forms(value: str) -> Iterable[str]:
    """Yield the ways in which a value is written by the encodings it may pass through."""
    raw = value.encode("utf-8", "surrogatepass")
    yield value
    for form in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield form
        yield re.sub("%..", lambda found: found[0].lower(), form)
    for ascii_only in (True, False):
        escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", "\\/")
        yield json.dumps(escaped)[1:-1]
    yield repr(value)[1:-1]
    yield from _base64_forms(raw)
    yield from _base64_forms(value.encode("utf-16-le", "surrogatepass"))  # PowerShell's -EncodedCommand


def _base64_forms(raw: bytes) -> Iterable[str]:
    """Yield base64 of the value alone, and the part that shows when it lies anywhere inside a longer text."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(raw).decode()
        yield whole
        yield whole.rstrip("=")
        if len(raw) >= _SHORTEST_EMBEDDED:
            for before in range(3):
                text = encode(bytes(before) + raw).decode().rstrip("=")
                first = (before * 8 + 5) // 6
                last = (before + len(raw)) * 8 // 6
                yield text[first:last]


def _mask_keys(_logger: object, _method: str, keys: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in keys.items():
        keys[key] = _mask_value(key, value)
    return keys


def _mask_value(key: str, value: object) -> object:
    if isinstance(value, (int, float)) or value is None:
        return value  # a count of tokens is no token
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, Mapping):
        return {masked(str(name)): _mask_value(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask_value("", item) for item in value]
    return masked(value) if isinstance(value, str) else value


@lru_cache(maxsize=1)
def _writer(stream: TextIO, threshold: int) -> structlog.typing.FilteringBoundLogger:
    import structlog

    key_values = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event", "logger"])

    def line(logger: object, method: str, keys: MutableMapping[str, Any]) -> str:
        return escaped(masked(key_values(logger, method, keys)))

    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask_keys,
            line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
    )
    return logger


def _nearest(level: int) -> int:
    """Return the standard level at or below a library's own one."""
    return max(logging.DEBUG, min(logging.CRITICAL, level // 10 * 10))


class _Forward(logging.Handler):
    """Takes what libraries log through the standard library and says it like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        level = _nearest(record.levelno)
        if record.name.startswith(_OF_SIGN_IN):
            level = min(level, logging.INFO)
        Log(record.name)._say(level, "library_said", {"message": record.getMessage()})


_OF_SIGN_IN = ("azure.identity", "msal")
"""Libraries that warn of each way to sign in that is not there. The error that follows says what matters of it."""
