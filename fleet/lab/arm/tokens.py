"""The words of a Resource Graph query, one after the other. Pure."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<word>!?[A-Za-z_$][\w$]*(?:~)?)
    |(?P<mark>==|=~|!=|!~|<=|>=|[|()\[\],.=<>])""",
    re.VERBOSE,
)


class Unknown(Exception):
    """The query cannot be understood. ``token`` is the text it fails at."""

    def __init__(self, token: str, line: int, column: int) -> None:
        super().__init__(f"{token or '<EOF>'} in line {line}, character {column}")
        self.token = token or "<EOF>"
        self.line = line
        self.column = column


class Parser:
    """Steps through a query; what it does not expect it refuses with :class:`Unknown`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise self._fail(text[place], place)
            if match.lastgroup and match.lastgroup != "space":
                self._tokens.append((match.lastgroup, match.group(), place))
            place = match.end()

    def peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def take(self, *words: str) -> bool:
        """Step over a token if it is one of these, whatever its case."""
        if self.peek().lower() in words and self.kind() != "text":
            self._at += 1
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            raise self.unknown()

    def word(self) -> str:
        if self.kind() != "word":
            raise self.unknown()
        return self.next()

    def number(self) -> int:
        if self.kind() != "number":
            raise self.unknown()
        return int(float(self.next()))

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self.unknown()

    def unknown(self, back: int = 0) -> Unknown:
        at = self._at - back
        if at < len(self._tokens):
            return self._fail(self._tokens[at][1], self._tokens[at][2])
        return self._fail("", len(self._text))

    def _fail(self, token: str, place: int) -> Unknown:
        line = self._text.count("\n", 0, place) + 1
        return Unknown(token, line, place - (self._text.rfind("\n", 0, place) + 1))
