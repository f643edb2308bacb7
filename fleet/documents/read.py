"""YAML text to positioned, validated documents: every problem at once, each with its line and column.

Two steps. ``read`` turns text into plain data by the YAML 1.2 core rules and remembers where each value is.
``validated`` holds the data against a pydantic model and turns what does not fit into plain sentences. The
YAML features that surprise people or can be abused are refused by name: tags, aliases, merge keys, duplicate
keys, several documents, keys that are not text, NaN and infinity, control characters, bottomless nesting.

An unquoted ``yes``, ``0123`` or ``22:30`` means something else to every YAML reader. Such a scalar becomes a
:class:`Lookalike`, which fits no type, so it is refused wherever it stands until someone quotes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import pydantic
import yaml

from fleet.documents.files import MOST_READ
from fleet.documents.places import Document as Document
from fleet.documents.places import Lookalike as Lookalike
from fleet.documents.places import Mark as Mark
from fleet.documents.places import Path, Refused, described, in_order, shown
from fleet.documents.places import closest as closest
from fleet.documents.places import dotted as dotted
from fleet.documents.places import problem as problem
from fleet.documents.problems import complaints
from fleet.documents.problems import refusal as refusal
from fleet.errors import MOST_LOOKED_FOR, InvalidInput, Problem

M = TypeVar("M", bound=pydantic.BaseModel)

MAX_DEPTH = 64
MAX_NODES = 100_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LOOKALIKE = re.compile(
    r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"  # booleans to YAML 1.1 readers
    r"|[-+]?0[0-9_]+|[-+]?0o[0-7_]+|[-+]?0b[01_]+"  # octal to some, decimal to others
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # base 60 to YAML 1.1 readers
    r"|[-+]?[0-9][0-9]*(_[0-9]+)+"  # digits grouped by underscores
)
_PAIR = re.compile(
    r"(?P<before>(?<!\\)(?:\\\\)*)\\u(?P<d1>[dD])(?P<high>[89abAB][0-9a-fA-F]{2})"
    r"\\u(?P<d2>[dD])(?P<low>[c-fC-F][0-9a-fA-F]{2})"
)
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", "")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Keys(pydantic.BaseModel):
    """Base of every model of a document: unknown keys are refused, nothing converted (``"600"`` is no 600).

    Lists are ``list`` and closed lists ``Literal`` in such models: strictness accepts nothing else.
    """

    model_config = pydantic.ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        defer_build=True,
        model_title_generator=lambda model: model.__name__.removesuffix("Keys"),
    )


def read(text: str | bytes, *, file: str) -> Document:
    """Read one document. Raises InvalidInput with every problem of its form."""
    document = examine(text, file=file)
    if document.problems:
        raise InvalidInput(in_order(document.problems))
    return document


def examine(text: str | bytes, *, file: str) -> Document:
    """Read one document as far as it can be read, and keep its problems in ``Document.problems``.

    ``validated`` reports them together with its own. Raises InvalidInput if the syntax is broken: then there
    is no data to go on with.
    """
    document = Document(file)
    reader = _Reader(document)
    try:
        plain = _decoded(text, document)
        document.lines = tuple(re.split("\r\n|[\n\r\x85\u2028\u2029]", plain))
        reader.stand_in = _stand_in(plain)
        document.data = reader.run(_stood_in(plain, reader.stand_in))
    except _Stop:
        raise InvalidInput(in_order(document.problems)) from None
    return document


def validated(document: Document, model: type[M]) -> M:
    """Hold a document against a model. Raises InvalidInput with every problem, ``examine``'s included."""
    result, problems = checked(document, model)
    if result is None or problems:
        raise InvalidInput(problems)
    return result


def checked(document: Document, model: type[M], path: Sequence[str | int] = ()) -> tuple[M | None, tuple[Problem, ...]]:
    """Hold the part of a document at ``path`` against a model: the value if it fits, and every problem.

    The problems of the text itself (``Document.problems``) are included when the whole document is asked for.
    """
    base = tuple(path)
    own = [] if base else list(document.problems)
    data = document.at(base)
    if data is None and not base and not own:
        return None, (problem(document, (), "empty", "the document is empty", expected="a mapping of keys"),)
    try:
        return model.model_validate(data), in_order(own)
    except pydantic.ValidationError as error:
        found = complaints(document, model, base, error.errors(include_url=False, include_input=False))
        own.extend(islice(found, MOST_LOOKED_FOR))
        return None, in_order(own)


def partial(document: Document, model: type[M], path: Sequence[str | int]) -> M | None:
    """Return the part at ``path`` without those of its keys that do not fit, for checks that should not wait.

    None if even that does not fit (a required key is missing or wrong).
    """
    data = document.at(path)
    if not isinstance(data, dict):
        return None
    for _ in range(2):
        try:
            return model.model_validate(data)
        except pydantic.ValidationError as error:
            wrong = {item["loc"][0] for item in error.errors(include_url=False) if item["loc"]}
            data = {key: value for key, value in data.items() if key not in wrong}
    return None


class _Stop(Exception):
    """The text cannot be read any further."""


def _decoded(text: str | bytes, document: Document) -> str:
    """Return text that the parser accepts, with forbidden characters reported and blanked."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(raw) > MOST_READ:
        message = f"the document has {len(raw)} bytes; at most {MOST_READ} are read"
        document.problems.append(Problem("too_large", message, document.file, 1, 1))
        raise _Stop
    try:
        plain = raw.decode("utf-8", "strict" if isinstance(text, bytes) else "surrogatepass")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        hint = "save the file as UTF-8"
        document.problems.append(Problem("encoding", "the text is not UTF-8", document.file, line, column, hint=hint))
        raise _Stop from None
    for number, hit in enumerate(_CONTROL.finditer(plain)):
        if number == 20:
            raise _Stop
        line = plain.count("\n", 0, hit.start()) + 1
        column = hit.start() - plain.rfind("\n", 0, hit.start())
        document.problems.append(_control(document.file, line, column, hit.group()))
    return _CONTROL.sub("\ufffd", plain)


def _control(file: str, line: int, column: int, character: str) -> Problem:
    name = f"U+{ord(character):04X}"
    message = f"the control character {name} is not allowed"
    return Problem("control_character", message, file, line, column, name, hint="remove the character")


# JSON escapes a character beyond U+FFFF as two surrogates (RFC 8259, section 7), which YAML's own readers refuse. So the
# first digit of both is changed to one that makes characters the text does not have, and changed back in the value:
# that moves nothing, and every place that is told stays true.


def _stand_in(text: str) -> str:
    """Return the digit that stands in for the ``d`` of surrogate escapes, "" where none is needed or free."""
    if not _PAIR.search(text):
        return ""
    # A numeral has no small and large form to tell \ud from \uD by, which outside double quotes must stay what it was.
    for digit in "ecba" if "\\uD" in text else "ecba98765432":
        used = rf"[\u{digit}800-\u{digit}fff]|\\(u|U0000){digit}[89a-f]"
        if not re.search(used, text, re.IGNORECASE):
            return digit
    return ""


def _stood_in(text: str, digit: str) -> str:
    def other(match: re.Match[str]) -> str:
        first, second = (digit if match[d] == "d" else digit.upper() for d in ("d1", "d2"))
        return f"{match['before']}\\u{first}{match['high']}\\u{second}{match['low']}"

    return _PAIR.sub(other, text) if digit else text


def _put_back(value: str, digit: str, *, escaped: bool) -> str:
    """Return a scalar's value as it was meant: characters where escapes count, the very text elsewhere."""
    if not escaped:
        other = {digit: "d", digit.upper(): "D"}
        return re.sub(
            rf"\\u({digit})(?=[89a-f][0-9a-f]{{2}})", lambda m: f"\\u{other[m[1]]}", value, flags=re.IGNORECASE
        )
    base = int(f"{digit}000", 16)
    pair = rf"([\u{digit}800-\u{digit}bff])([\u{digit}c00-\u{digit}fff])"
    return re.sub(pair, lambda m: chr(0x10000 + ((ord(m[1]) - base - 0x800) << 10) + ord(m[2]) - base - 0xC00), value)


class _Reader:
    """Builds plain data from the parser's events, which name place, style and tag of each node."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._events: Iterator[Any] = iter(())
        self._nodes = 0
        self.stand_in = ""

    def run(self, text: str) -> object:
        self._events = iter(yaml.parse(text, Loader=_LOADER))
        data: object = None
        documents = 0
        while (event := self._next()) is not None:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._say(event, "several_documents", "a file holds one document", hint="split the file at ---")
                    raise _Stop
                data = self._node(self._next(), ())
        return data

    def _next(self) -> Any:
        try:
            event = next(self._events, None)
            if self.stand_in and isinstance(event, yaml.ScalarEvent):
                event.value = _put_back(event.value, self.stand_in, escaped=event.style == '"')
            return event
        except (yaml.YAMLError, UnicodeError, RecursionError) as error:
            self._document.problems.append(_syntax(error, self._document.file))
            raise _Stop from None

    def _node(self, event: Any, path: Path) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._say(event, "too_large", f"the document has more than {MAX_NODES} values")
            raise _Stop
        if len(path) > MAX_DEPTH:
            self._say(event, "too_deep", f"the document is nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        value = self._plain(event, path)
        if getattr(event, "tag", None) is not None:
            self._say(event, "tag_refused", "YAML tags are not allowed", found=event.tag, hint="remove the tag")
            return Refused()
        return value

    def _plain(self, event: Any, path: Path) -> object:
        if isinstance(event, yaml.AliasEvent):
            found = f"*{event.anchor}"
            self._say(
                event,
                "alias_refused",
                "YAML aliases are not allowed",
                found=found,
                hint="write the value out",
            )
            return Refused()
        if isinstance(event, yaml.MappingStartEvent):
            self._place(event, path)
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            self._place(event, path)
            return self._sequence(path)
        self._place(event, path, event.value, event.style or "", event.end_mark.line + 1)
        return self._scalar(event)

    def _place(self, event: Any, path: Path, text: str = "", style: str = "", last_line: int = 0) -> None:
        mark = event.start_mark
        place = Mark(mark.line + 1, mark.column + 1, shown(text), style, last_line)
        self._document.values.setdefault(path, place)

    def _sequence(self, path: Path) -> list[object]:
        items: list[object] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, object]:
        entries: dict[str, object] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key is None or key in entries:
                if key is not None:
                    first = self._document.mark((*path, key), key=True)
                    message = f"the key '{shown(key)}' stands twice, first in line {first.line}"
                    self._say(event, "duplicate_key", message, found=shown(key), hint="keep one of the two")
                self._node(self._next(), (*path, "\0"))
                continue
            mark = event.start_mark
            self._document.keys[(*path, key)] = Mark(mark.line + 1, mark.column + 1, shown(key))
            entries[key] = self._node(self._next(), (*path, key))
        return entries

    def _key(self, event: Any, path: Path) -> str | None:
        """Return the text of a key, or None (and a problem) if it is no text."""
        if not isinstance(event, yaml.ScalarEvent):
            self._say(event, "key_not_text", "a key must be text")
            self._node(event, (*path, "\0"))
            return None
        value = self._node(event, (*path, "\0"))
        if event.value == "<<" and not event.style:
            self._say(
                event,
                "merge_refused",
                "YAML merge keys are not allowed",
                found="<<",
                hint="write the keys out",
            )
            return None
        if isinstance(value, Lookalike):
            message = f"the key {value.text} is ambiguous"
            self._say(event, "ambiguous_scalar", message, found=value.text, hint=f'write "{value.text}"')
            return value.text
        if isinstance(value, Refused):
            return None
        if not isinstance(value, str):
            text = shown(event.value)
            self._say(
                event,
                "key_not_text",
                f"a key must be text, not {described(value)}",
                found=text,
                hint=f'write "{text}"',
            )
            return None
        return value

    def _scalar(self, event: Any) -> object:
        text: str = event.value
        if event.style:
            hit = _CONTROL.search(text)
            if hit:
                mark = event.start_mark
                self._add(_control(self._document.file, mark.line + 1, mark.column + 1, hit.group()))
                return Refused()
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _LOOKALIKE.fullmatch(text):
            return Lookalike(shown(text))
        if _INT.fullmatch(text):
            # 18 digits fit 64 bits whatever they are; longer ones would cost quadratic time to convert.
            return int(text, 0) if len(text) <= 18 else self._number(event, "is too large a number")
        if _NOT_FINITE.fullmatch(text):
            return self._number(event, "is not a finite number")
        if _FLOAT.fullmatch(text):
            number = float(text)
            return number if abs(number) != float("inf") else self._number(event, "is too large a number")
        return text

    def _number(self, event: Any, what: str) -> object:
        text = shown(event.value)
        self._say(event, "number_refused", f"{text} {what}", found=text, hint="quote it if text is meant")
        return Refused()

    def _say(self, event: Any, code: str, message: str, *, found: str = "", hint: str = "") -> None:
        mark = event.start_mark
        self._add(Problem(code, message, self._document.file, mark.line + 1, mark.column + 1, shown(found), hint=hint))

    def _add(self, found: Problem) -> None:
        self._document.problems.append(found)
        if len(self._document.problems) >= MOST_LOOKED_FOR:
            raise _Stop


def _syntax(error: Exception, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "the text cannot be read"
    context = getattr(error, "context", None)
    message = f"not valid YAML: {what}" + (f" ({context})" if context else "")
    hint = "indent with spaces, not with tabs" if "character that cannot start any token" in str(what) else ""
    return Problem("syntax", message, file, line, column, hint=hint)
