"""One script on its way into one VM, and the rules it must keep to arrive unchanged."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.errors import InvalidInput, Problem

CARRIER = "FLEET_SECRET_"
"""Prefix of the parameters that carry secrets: environment variables on Linux, arguments on Windows."""

EMPTY_SECRET = "="  # noqa: S105  what stands for an empty secret; no base64 text is a lone pad character
BOM = "\ufeff"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NONCE = re.compile(r"[0-9a-f]{8,64}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LONGEST_TIMEOUT = 6 * 86400.0
"""Receipts older than seven days are deleted, so no script may run as long."""

_STRING_BYTES = 131_071
"""Longest argument or environment string of Linux, without its NUL (execve(2), MAX_ARG_STRLEN)."""
_WINDOWS_CHARACTERS = 32_766
"""Longest environment variable (Win32 SetEnvironmentVariable); the command line has the same bound."""
_WINDOWS_ARGUMENTS = 30_000

CUT_HINT = "give the name and the value as two arguments, or use env"

_SHELL_OWNED = frozenset(
    {"BASHOPTS", "BASH_VERSINFO", "DIRSTACK", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO"}
    | {"OPTIND", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "UID", "_"}
)
"""Names a shell sets itself: bash refuses some, dash stops at a bad OPTIND, the rest would not arrive."""


_CUT_ARGUMENT = re.compile(r"[-\u2013\u2014\u2015].*:", re.DOTALL)


def is_cut_by_powershell(argument: str) -> bool:
    """Whether ``powershell -File`` would make two arguments of one: it takes ``-Name:value`` apart."""
    return _CUT_ARGUMENT.match(argument) is not None


class Shell(StrEnum):
    """What runs the script inside the VM. ``pwsh`` is whichever PowerShell runs the wrapper."""

    BASH = "bash"
    SH = "sh"
    PWSH = "pwsh"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a script. Raises InvalidInput, with every problem, for what could not arrive unchanged.

    ``key`` names the work: the guest runs the scripts of one key at most once. ``nonce`` names this delivery:
    hex, fresh for each attempt. ``timeout`` is in seconds, counted in the VM, at most six days.
    ``secret_names`` arrive apart from the script (see :func:`secret_parameters`). ``script`` is kept without
    a byte order mark and with a last line end; for bash and sh every CRLF and CR becomes a line feed (the
    action handler strips carriage returns as well: handler source), for PowerShell line ends stay as they
    are.
    """

    script: str
    shell: Shell
    key: str
    nonce: str
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    args: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    live: bool = False
    """Whether the wrapper passes on what the script prints as it comes, unpacked, for a blob that grows. On Linux only:
    PowerShell's wrapper prints at the end."""

    def __post_init__(self) -> None:
        script = self.script.removeprefix(BOM)
        if self.shell is not Shell.PWSH:
            script = script.replace("\r\n", "\n").replace("\r", "\n")
        if not script.endswith("\n"):
            script += "\n"
        object.__setattr__(self, "script", script)
        problems = [*_about_itself(self), *_about_names(self), *_about_values(self)]
        if problems:
            raise InvalidInput(problems)


def script_bytes(delivery: Delivery) -> bytes:
    """Return the exact bytes that the wrapper writes to the script's file in the VM.

    PowerShell scripts begin with a byte order mark: without it Windows PowerShell 5.1 reads a file in the
    machine's code page (documented: about_Character_Encoding).
    """
    mark = BOM if delivery.shell is Shell.PWSH else ""
    return (mark + delivery.script).encode("utf-8")


def script_digest(delivery: Delivery) -> str:
    """Return the sha256, in hex, of the script's file as the wrapper will write it in the VM."""
    return hashlib.sha256(script_bytes(delivery)).hexdigest()


def secret_parameters(values: Mapping[str, str]) -> Mapping[str, str]:
    """Turn secrets into protected parameters, by carrier name: base64 of UTF-8, and ``=`` for an empty value.

    A parameter never stays empty, because the Linux handler drops parameters without a value (handler
    source). Raises InvalidInput for names or values that cannot be carried; no message holds a value.
    """
    problems = [problem for name in values for problem in _name_problems(name)]
    problems += [problem for name, text in values.items() for problem in _text_problems(f"secret {name}", text)]
    if problems:
        raise InvalidInput(problems)
    carried = {CARRIER + name: to_base64(text) or EMPTY_SECRET for name, text in values.items()}
    too_long = [name for name, text in carried.items() if len(name) + 1 + len(text) > _STRING_BYTES]
    if too_long:
        hint = "a secret may have about 98,000 bytes; let the script fetch longer ones"
        raise InvalidInput([_problem(f"{name.removeprefix(CARRIER)} is too long", hint) for name in too_long])
    return carried


def secret_value(carried: str) -> str:
    """Read one value of :func:`secret_parameters` back. Raises ValueError if it is none."""
    return "" if carried == EMPTY_SECRET else base64.b64decode(carried, validate=True).decode("utf-8")


def to_base64(text: str) -> str:
    """Return the base64 of the text's UTF-8 form, on one line."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _problem(message: str, hint: str = "") -> Problem:
    return Problem(code="delivery", message=message, hint=hint)


def _about_itself(delivery: Delivery) -> list[Problem]:
    problems = _text_problems("the script", delivery.script)
    if not _KEY.fullmatch(delivery.key):
        problems.append(_problem("the key must be 1 to 128 of A-Z a-z 0-9 . _ - and begin with a letter or digit"))
    if not _NONCE.fullmatch(delivery.nonce):
        problems.append(_problem("the nonce must be 8 to 64 lower-case hex digits"))
    if not 0 < delivery.timeout <= _LONGEST_TIMEOUT:
        problems.append(_problem("the timeout must be above 0 and at most 6 days", "split longer work into steps"))
    return problems


def _about_names(delivery: Delivery) -> list[Problem]:
    names = [*delivery.env, *delivery.secret_names]
    problems = [problem for name in names for problem in _name_problems(name)]
    same = [name.upper() if delivery.shell is Shell.PWSH else name for name in names]
    twice = sorted({name for name in same if same.count(name) > 1})
    problems += [_problem(f"the environment variable {name} is given twice") for name in twice]
    return problems


def _name_problems(name: str) -> list[Problem]:
    if not _NAME.fullmatch(name):
        return [_problem(f"{name!r} cannot name an environment variable", "letters, digits and _ only")]
    if name in _SHELL_OWNED:
        return [_problem(f"the environment variable {name} belongs to the shell", "choose another name")]
    if name.startswith("fleet_") or name.upper().startswith(CARRIER):
        return [_problem(f"the environment variable {name} is kept for the wrapper", "choose another name")]
    return []


def _about_values(delivery: Delivery) -> list[Problem]:
    problems: list[Problem] = []
    for name, text in delivery.env.items():
        problems += _text_problems(f"the value of {name}", text) or _length_problems(delivery, name, text)
    for number, text in enumerate(delivery.args, start=1):
        problems += _text_problems(f"argument {number}", text) or _length_problems(delivery, "", text)
        if delivery.shell is Shell.PWSH and is_cut_by_powershell(text):
            problems.append(_problem(f"PowerShell would make two of argument {number}, at the colon", CUT_HINT))
    if delivery.shell is Shell.PWSH and sum(2 * len(text) + 3 for text in delivery.args) > _WINDOWS_ARGUMENTS:
        problems.append(_problem("the arguments do not fit into a command line of Windows", "use env, or a file"))
    return problems


def _text_problems(what: str, text: str) -> list[Problem]:
    if "\0" in text:
        return [_problem(f"{what} holds a NUL character, which no shell can carry", "encode it, for example as base64")]
    if any("\ud800" <= character <= "\udfff" for character in text):
        return [_problem(f"{what} holds half a surrogate pair, which is not text", "encode it, for example as base64")]
    return []


def _length_problems(delivery: Delivery, name: str, text: str) -> list[Problem]:
    if delivery.shell is Shell.PWSH:
        too_long = len(text.encode("utf-16-le")) // 2 > _WINDOWS_CHARACTERS
    else:
        too_long = len(name) + 1 + len(text.encode("utf-8")) > _STRING_BYTES
    what = f"the value of {name}" if name else "an argument"
    return [_problem(f"{what} is longer than the VM's system allows", "put it into the script")] if too_long else []
