"""The wrapper for Windows: one script for PowerShell 5.1 and 7, read back by the same module.

Scripts of this package (``wrapper.ps1`` and those named in ``_BODY``) hold what never changes; this module writes what
differs. The text is ASCII without a backslash: the code page in which the file is read is not known, and a backslash with
an ``n`` is taken for a line break on the way (documented for the action on Windows). So the script travels as base64, and
so does every value that needs either.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from importlib.resources import files

from fleet.guest.delivery import CARRIER, Delivery, Shell, to_base64
from fleet.guest.wrapper_sh import hundredths

_COMMENT = re.compile(r"^ *# .*\n", re.MULTILINE)


def script_text(*names: str) -> str:
    """Return scripts of this package, one behind the other, without comments: they travel in every request."""
    texts = [files("fleet.guest").joinpath(f"{name}.ps1").read_text(encoding="ascii") for name in names]
    return _COMMENT.sub("", "".join(texts))


_BODY = script_text("tools", "claim", "boot", "private", "run", "print", "wrapper")

_PLAIN = re.compile(r"[\x20-\x5b\x5d-\x7e]+")
_WORD = r"(?:'((?:[^']|'')*)'|\(Get-FleetText '([^']+)'\))"
_ENTRY = re.compile(rf"    \$FleetEnvironment\['(\w+)'\] = {_WORD}\n")
_SECRET = re.compile(r"    \$FleetEnvironment\['(\w+)'\] = Get-FleetSecret '\w+' \$\w+\n")
_ARGUMENT = re.compile(rf"    \[void\]\$FleetArguments\.Add\({_WORD}\)\n")
_HEAD = re.compile(
    r"#[^\n]*\nparam\([^)]*\)\n\$FleetKey = '(?P<key>[^'\n]+)'\n\$FleetEntry = '[^'\n]+'\n"
    r"\$FleetNonce = '(?P<nonce>[^'\n]+)'\n\$FleetLimit = (?P<limit>\d+)\n"
    r"\$FleetScript = @'\n(?P<script>[A-Za-z0-9+/=\n]+)\n'@\n\$FleetValues = \{\n"
    r"    \$FleetEnvironment\.Clear\(\)\n"
)


def wrap(delivery: Delivery) -> str:
    """Return the PowerShell wrapper of a delivery."""
    carriers = ", ".join(f"[string]${CARRIER}{name} = ''" for name in delivery.secret_names)
    return (
        "# Fleet runs the script below at most once on this machine and prints a receipt last.\n"
        f"param({carriers})\n"
        f"$FleetKey = '{delivery.key}'\n"
        f"$FleetEntry = '{entry(delivery.key)}'\n"
        f"$FleetNonce = '{delivery.nonce}'\n"
        f"$FleetLimit = {hundredths(delivery.timeout) * 10}\n"
        f"$FleetScript = @'\n{_encoded_script(delivery)}\n'@\n"
        f"$FleetValues = {{\n    $FleetEnvironment.Clear()\n{_values(delivery)}}}\n"
        f"\n{_BODY}"
    )


def unwrap(text: str) -> Delivery | None:
    """Read the delivery back from wrapper text; None if it is no wrapper of this module.

    Raises ValueError or InvalidInput for a damaged one.
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    env: dict[str, str] = {}
    args: list[str] = []
    secrets: list[str] = []
    at = head.end()
    while True:
        if found := _SECRET.match(text, at):
            secrets.append(found[1])
        elif found := _ENTRY.match(text, at):
            env[found[1]] = _text(found[2], found[3])
        elif found := _ARGUMENT.match(text, at):
            args.append(_text(found[1], found[2]))
        else:
            break
        at = found.end()
    return Delivery(
        script=base64.b64decode(head["script"]).decode("utf-8"),
        shell=Shell.PWSH,
        key=head["key"],
        nonce=head["nonce"],
        timeout=int(head["limit"]) / 1000,
        env=env,
        args=tuple(args),
        secret_names=tuple(secrets),
    )


def entry(key: str) -> str:
    """Name the key's folder: NTFS does not tell upper from lower case, and some names belong to devices."""
    return f"{key}-{hashlib.sha256(key.encode('ascii')).hexdigest()[:8]}"


def _encoded_script(delivery: Delivery) -> str:
    return "\n".join(textwrap.wrap(to_base64(delivery.script), 100))


def _values(delivery: Delivery) -> str:
    lines = [f"    $FleetEnvironment['{name}'] = {_word(text)}\n" for name, text in delivery.env.items()]
    lines += [
        f"    $FleetEnvironment['{name}'] = Get-FleetSecret '{name}' ${CARRIER}{name}\n"
        for name in delivery.secret_names
    ]
    lines += [f"    [void]$FleetArguments.Add({_word(text)})\n" for text in delivery.args]
    return "".join(lines)


def _word(text: str) -> str:
    if not text or _PLAIN.fullmatch(text):
        return "'" + text.replace("'", "''") + "'"
    return f"(Get-FleetText '{to_base64(text)}')"


def _text(quoted: str | None, encoded: str) -> str:
    if quoted is not None:
        return quoted.replace("''", "'")
    return base64.b64decode(encoded).decode("utf-8")
