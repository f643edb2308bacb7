"""The first line of a script that names its interpreter (``#!``), read as the Linux kernel and ``env`` read it.

Azure's handler runs a script by its path, so there the kernel starts the interpreter that the first line names: the path
up to a space, and all that follows as one argument (kernel source: ``fs/binfmt_script.c``). The wrapper starts the same
program with the same argument, so it needs no file that may be executed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.guest.delivery import BOM

LONGEST = 255
"""Bytes of a first line that Linux reads (kernel source: ``BINPRM_BUF_SIZE``, 256 with a NUL)."""

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SPLIT = re.compile(r"(?:-[A-Za-z]*S|--split-string(?:=|$))")
_WITH_VALUE = frozenset({"-u", "--unset", "-C", "--chdir"})
_POWERSHELL = re.compile(r"(?:pwsh|powershell)(?:-preview|-lts)?(?:\.exe)?", re.IGNORECASE)

_CUT = f"the first line is longer than the {LONGEST} bytes that Linux reads of it"
_RELATIVE = "the first line must name its interpreter by the whole path, such as /bin/bash"
_LOOP = "the first line names no program, so env would start the script again and again"
_ONE_WORD = "the first line gives env more than one word, and Linux hands them over as one"


@dataclass(frozen=True, slots=True)
class Shebang:
    """What a first line names.

    ``path`` is the program that starts, ``argument`` its one argument (empty for none). ``program`` is what runs the
    script in the end: the last part of ``path``, or of what ``env`` looks for. ``problem`` says why no Linux can run
    the line as it is meant; empty where it can.
    """

    path: str
    argument: str = ""
    program: str = ""
    problem: str = ""

    @property
    def is_powershell(self) -> bool:
        """Whether PowerShell runs the script."""
        return _POWERSHELL.fullmatch(self.program) is not None

    @property
    def looked_up(self) -> str:
        """The program that ``env`` looks for on the search path of the step; empty where it looks elsewhere, or nowhere."""
        words = re.sub(r"^-S\s*", "", self.argument).split()
        plain = next((word for word in words if not _ASSIGNMENT.match(word) or word.startswith("PATH=")), "")
        return plain if _name(self.path) == "env" and plain == self.program else ""


def first_line(script: str) -> str:
    """Return the first line of a script as it arrives in a VM: without a byte order mark and without its line end."""
    return re.split(r"[\r\n]", script.removeprefix(BOM)[: LONGEST + 2], maxsplit=1)[0]


def read_shebang(script: str) -> Shebang | None:
    """Read the interpreter that a script names in its first line; None where it names none.

    A ``#!`` with nothing behind it names none: the kernel refuses it, and bash then runs the script.
    """
    line = first_line(script)
    if not line.startswith("#!") or not line[2:].strip(" \t"):
        return None
    path, *rest = re.split(r"[ \t]+", line[2:].strip(" \t"), maxsplit=1)
    argument = rest[0] if rest else ""
    if len(line.encode("utf-8", "surrogatepass")) > LONGEST:
        return Shebang(path, argument, _name(path), _CUT)
    if not path.startswith("/"):
        return Shebang(path, argument, _name(path), _RELATIVE)
    if _name(path) != "env":
        return Shebang(path, argument, _name(path))
    program, problem = _through_env(argument)
    return Shebang(path, argument, _name(program), problem)


def late_shebang(script: str) -> int:
    """Return the line, from 1, on which a ``#!`` stands that comes too late or too far right to count; 0 for none."""
    text = script.removeprefix(BOM)
    start = len(text) - len(text.lstrip())
    if start == 0 or not text.startswith("#!", start):
        return 0
    return text[:start].replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _through_env(argument: str) -> tuple[str, str]:
    """Return the program that ``env`` starts, and what is wrong with its line."""
    if split := _SPLIT.match(argument):
        program = _program(argument[split.end() :].split())
        return program, "" if program else _LOOP
    if re.search(r"[ \t]", argument):
        return _program(argument.split()), f"{_ONE_WORD}: write env -S"
    if not argument or argument.startswith("-") or _ASSIGNMENT.match(argument):
        return "", _LOOP
    return argument, ""


def _program(words: Sequence[str]) -> str:
    """Return the first of ``env``'s words that is neither an option nor an assignment; empty where there is none."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            skip = word in _WITH_VALUE
        elif not _ASSIGNMENT.match(word):
            return word.strip("'\"")
    return ""
