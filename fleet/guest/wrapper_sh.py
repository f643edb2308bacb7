"""The wrapper for Linux: one POSIX sh script, read back by the same module.

``wrapper.sh`` holds what never changes; this module writes what differs: the script, in a quoted
here-document so that people can read it on the VM, and its values.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from importlib.resources import files

from fleet.guest.delivery import CARRIER, Delivery, Shell, script_bytes, to_base64
from fleet.guest.shebang import read_shebang

_COMMENT = re.compile(r"^ *#(?! shellcheck ).*\n", re.MULTILINE)

TOOLS = files("fleet.guest").joinpath("tools.sh").read_text(encoding="ascii")
CLAIM = files("fleet.guest").joinpath("claim.sh").read_text(encoding="ascii")
_BODY = TOOLS + CLAIM + files("fleet.guest").joinpath("wrapper.sh").read_text(encoding="ascii")
_BODY = _COMMENT.sub("", _BODY)  # it travels in every request

_PLAIN = re.compile(r"[\t\n\x20-\x7e]*")
_WORD = r"'(?:[^']|'\\'')*'"
_DECODE = re.compile(r"    fleet_decode '([A-Za-z0-9+/=]+)'; fleet_(\d+)=\$fleet_value\n")
_SECRET = re.compile(r"    fleet_secret (\w+) \"\$\{\w+-\}\"; fleet_\d+=\$fleet_value; unset \w+\n")
_EXPORT = re.compile(rf"    export (\w+)=(?:({_WORD})|\"\$fleet_(\d+)\")\n")
_ARGUMENT = re.compile(rf" \\\n        (?:({_WORD})|\"\$fleet_(\d+)\")")
_HEAD = re.compile(
    r"#!/bin/sh\n(?:#[^\n]*\n)+fleet_key='(?P<key>[^'\n]+)'\nfleet_nonce='(?P<nonce>[^'\n]+)'\n"
    rf"fleet_shell='(?P<shell>bash|sh)'\nfleet_interpreter={_WORD}\nfleet_option={_WORD}\nfleet_looked_up={_WORD}\n"
    r"fleet_limit=(?P<limit>\d+)\nfleet_live=(?P<live>[01])\nfleet_script_bytes=\d+\n\n"
    r"fleet_script\(\) \{\n    cat <<'(?P<mark>\w+)'\n"
)
_VALUES = "\n# {note}\nfleet_values() {{\n"
_NOTE = "Values that hold control or non-ASCII characters travel as base64: the way into the VM drops carriage returns."


def wrap(delivery: Delivery) -> str:
    """Return the sh wrapper of a delivery for bash or sh."""
    mark = _mark(delivery)
    values, uses = _values(delivery)
    return (
        "#!/bin/sh\n"
        "# Fleet runs the script below at most once on this machine and prints a receipt last.\n"
        "# shellcheck disable=SC1003,SC2016,SC2034,SC2089,SC2090,SC2317\n"
        f"fleet_key='{delivery.key}'\n"
        f"fleet_nonce='{delivery.nonce}'\n"
        f"fleet_shell='{delivery.shell}'\n"
        f"{_interpreter(delivery)}"
        f"fleet_limit={hundredths(delivery.timeout)}\n"
        f"fleet_live={delivery.live:d}\n"
        f"fleet_script_bytes={len(script_bytes(delivery))}\n"
        "\n"
        f"fleet_script() {{\n    cat <<'{mark}'\n{delivery.script}{mark}\n}}\n"
        f"{_VALUES.format(note=_NOTE)}{values}    :\n}}\n"
        f"\nfleet_child() {{\n{uses}\n}}\n"
        f"\nfleet_watchdog={_WATCHDOG}\n"
        f"\n{_BODY}"
    )


def _interpreter(delivery: Delivery) -> str:
    """Write what the script's first line names: all empty where it names nothing, and the shell runs the script."""
    named = read_shebang(delivery.script)
    if named is None:
        path = option = looked_up = ""
    else:
        # The kernel finds a relative path in the working folder; a shell would look for it on the search path.
        path = named.path if named.path.startswith("/") else f"./{named.path}"
        option, looked_up = named.argument, named.looked_up
    return f"fleet_interpreter={quote(path)}\nfleet_option={quote(option)}\nfleet_looked_up={quote(looked_up)}\n"


def hundredths(seconds: float) -> int:
    """Return a time in hundredths of a second, rounded up but for float noise."""
    return math.ceil(round(seconds * 100, 6))


def quote(text: str) -> str:
    """Quote text as one word of sh."""
    return "'" + text.replace("'", "'\\''") + "'"


_WATCHDOG = quote(files("fleet.guest").joinpath("watchdog.sh").read_text(encoding="ascii"))


def _mark(delivery: Delivery) -> str:
    """Name the end of the here-document: a line that the script does not hold."""
    mark = f"FLEET_SCRIPT_{delivery.nonce}"
    lines = set(delivery.script.split("\n"))
    while mark in lines:
        mark += "_"
    return mark


def _values(delivery: Delivery) -> tuple[str, str]:
    """Write the lines that decode, before the claim, and those that use, in the child."""
    decode: list[str] = []
    counter = iter(range(1, 1 + len(delivery.env) + len(delivery.args) + len(delivery.secret_names)))

    def word(text: str) -> str:
        if _PLAIN.fullmatch(text):
            return quote(text)
        number = next(counter)
        decode.append(f"    fleet_decode '{to_base64(text)}'; fleet_{number}=$fleet_value\n")
        return f'"$fleet_{number}"'

    exports = [f"    export {name}={word(text)}\n" for name, text in delivery.env.items()]
    arguments = "".join(f" \\\n        {word(text)}" for text in delivery.args)
    for name in delivery.secret_names:
        number, carrier = next(counter), CARRIER + name
        decode.append(f'    fleet_secret {name} "${{{carrier}-}}"; fleet_{number}=$fleet_value; unset {carrier}\n')
        exports.append(f'    export {name}="$fleet_{number}"\n')
    return "".join(decode), "".join(exports) + "    fleet_exec" + arguments


def unwrap(text: str) -> Delivery | None:
    """Read the delivery back from wrapper text; None if it is no wrapper of this module.

    Raises ValueError or InvalidInput for a damaged one.
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    end = text.find(f"\n{head['mark']}\n}}\n", head.end() - 1)
    if end < 0:
        return None
    values = text.find("fleet_values() {\n", end)
    at = values + len("fleet_values() {\n")
    encoded, secrets, at = _read_values(text, at)
    env, args = _read_uses(text, at + len("    :\n}\n\nfleet_child() {\n"), encoded)
    return Delivery(
        script=text[head.end() : end + 1],
        shell=Shell(head["shell"]),
        key=head["key"],
        nonce=head["nonce"],
        timeout=int(head["limit"]) / 100,
        env={name: value for name, value in env.items() if name not in secrets},
        args=args,
        secret_names=tuple(secrets),
        live=head["live"] == "1",
    )


def _read_values(text: str, at: int) -> tuple[dict[str, str], list[str], int]:
    encoded: dict[str, str] = {}
    secrets: list[str] = []
    while True:
        if found := _DECODE.match(text, at):
            encoded[found[2]] = base64.b64decode(found[1]).decode("utf-8")
        elif found := _SECRET.match(text, at):
            secrets.append(found[1])
        else:
            return encoded, secrets, at
        at = found.end()


def _read_uses(text: str, at: int, encoded: dict[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    env: dict[str, str] = {}
    while found := _EXPORT.match(text, at):
        env[found[1]] = _word(found[2], found[3], encoded)
        at = found.end()
    return env, tuple(_read_arguments(text, at + len("    fleet_exec"), encoded))


def _read_arguments(text: str, at: int, encoded: dict[str, str]) -> Iterator[str]:
    while found := _ARGUMENT.match(text, at):
        yield _word(found[1], found[2], encoded)
        at = found.end()


def _word(quoted: str | None, number: str, encoded: dict[str, str]) -> str:
    if quoted is None:
        return encoded.get(number, "")
    return quoted[1:-1].replace("'\\''", "'")
