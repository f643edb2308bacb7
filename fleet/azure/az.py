"""Tokens of ``az login``: asks the Azure CLI, which gets to know no more of the environment than it needs.

azure-identity starts it with all variables of this process, those with secrets included, and has no way to say otherwise.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from fleet import children
from fleet.logs import masked

TIME_LIMIT = 30.0
"""Seconds until az must have answered."""

NOT_FOUND = "Azure CLI not found on path"
NOT_SIGNED_IN = "Please run 'az login' to set up an account"

_NETWORK = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_TRUST = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"})
_PLACES = frozenset(
    {
        "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",  # where az keeps its tokens in a keyring
        "PYENV_ROOT", "PYENV_VERSION", "LD_LIBRARY_PATH", "WSL_DISTRO_NAME", "WSL_INTEROP",
    }
)  # fmt: skip
_SECRET = re.compile(r"SECRET|PASSWORD|PASSPHRASE|TOKEN|CREDENTIAL|KEY|ASSERTION|CONNECTION_STRING|SAS|CERTIFICATE")
_WORD = re.compile(r"[0-9A-Za-z.:/_-]+")


class AzFailed(Exception):
    """There is no token. ``is_unavailable`` says that nobody is signed in, or that there is no az: another way may do."""

    def __init__(self, message: str, *, is_unavailable: bool) -> None:
        super().__init__(message)
        self.is_unavailable = is_unavailable


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what az needs of an environment: paths, language, proxies, trust, and its own settings (``AZURE_...``).

    What is secret by its name, or holds a value that Fleet conceals, is none of these settings.
    """
    kept = children.environment(given, _is_for_az)
    secret = {name for name, value in kept.items() if name.upper().startswith("AZURE_") and masked(value) != value}
    return {**{name: value for name, value in kept.items() if name not in secret}, "AZURE_CORE_NO_COLOR": "true"}


def token(scope: str, tenant: str | None, given: Mapping[str, str], limit: float = TIME_LIMIT) -> tuple[str, float]:
    """Return a token and when it expires, in epoch seconds. Raises :class:`AzFailed`, which never shows a token."""
    resource = scope.removesuffix("/.default")
    words = ["account", "get-access-token", "--output", "json", "--resource", resource]
    words += ["--tenant", tenant] if tenant else []
    for word in (resource, tenant or "-"):
        if not _WORD.fullmatch(word):
            raise AzFailed(f"{word!r} is not a resource or tenant that az can be asked for", is_unavailable=False)
    return _read(_ask(words, environment(given), limit))


def _is_for_az(name: str) -> bool:
    if name.startswith("AZURE_"):
        return not _SECRET.search(name)
    return name in _NETWORK | _TRUST | _PLACES


def _ask(words: Sequence[str], variables: Mapping[str, str], limit: float) -> str:
    """Run az in a folder of the system's, as it would load what lies in the current one. Return its output."""
    names = ("az.cmd", "az") if sys.platform == "win32" else ("az",)
    path = next((found for name in names if (found := shutil.which(name, path=variables.get("PATH")))), None)
    if path is None:
        raise AzFailed(NOT_FOUND, is_unavailable=True)
    folder = variables.get("SYSTEMROOT", "C:\\") if sys.platform == "win32" else "/bin"
    try:
        done = subprocess.run(  # noqa: S603  the words were checked
            [Path(path).absolute(), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=limit,
            cwd=folder,
            env=dict(variables),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AzFailed(f"az did not answer in {limit:g} seconds", is_unavailable=True) from None
    except OSError as error:
        raise AzFailed(f"az cannot be started: {error.strerror}", is_unavailable=True) from error
    if done.returncode:
        raise _failed(done.returncode, done.stderr)
    return done.stdout


def _failed(code: int, said: str) -> AzFailed:
    if code == 127 or said.startswith("'az' is not recognized"):
        return AzFailed(NOT_FOUND, is_unavailable=True)
    if ("az login" in said or "az account set" in said) and "AADSTS" not in said:
        return AzFailed(NOT_SIGNED_IN, is_unavailable=True)
    return AzFailed(said.strip() or f"az ended with exit code {code} and said nothing", is_unavailable=False)


def _read(output: str) -> tuple[str, float]:
    try:
        answer = json.loads(output)
        kept, expires = answer["accessToken"], answer.get("expires_on")
        if expires is None:  # az before 2.54 tells the local time only
            expires = datetime.strptime(answer["expiresOn"], "%Y-%m-%d %H:%M:%S.%f").astimezone().timestamp()
        if not isinstance(kept, str) or not kept:
            raise TypeError("no text")
        return kept, float(expires)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise AzFailed("az did not answer with a token", is_unavailable=False) from None
