"""Where tokens come from. The only importer of azure-identity, and only once a token is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from fleet.clock import Clock, SystemClock
from fleet.errors import AzureUnusable, InvalidInput, Problem
from fleet.logs import conceal

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

REFRESH_BEFORE = 300.0
"""Seconds before expiry at which a token is replaced; azure-identity's own margin is the same."""

_ANY_TENANT = ["*"]
"""Tokens are asked for other tenants than the credential's own only where a subscription lies there, and only for Azure
Resource Manager; azure-identity refuses that unless it is allowed beforehand."""

_OF_ONE_TENANT = frozenset({"managed_identity"})

_SHORTEST_SECRET = 8
"""Characters. A shorter one, masked wherever it shows, would riddle the log and still be guessed."""

Credential = str | Mapping[str, object]

_HINTS = {
    "default": "run `az login`, or set azure.credential in the config",
    "cli": "run `az login`, and see that `az` is on the PATH",
    "environment": "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    "managed_identity": "give this machine a managed identity; AZURE_CLIENT_ID names a user-assigned one",
    "workload_identity": "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE",
    "client_secret": "check tenant_id, client_id and the secret's expiry",
}


class TokenSource(Protocol):
    """Gives tokens of one principal."""

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        """Return a token that is good for some minutes; ``claims`` answers a challenge and asks for a fresh
        one.

        Raises :class:`fleet.errors.AzureUnusable` if there is none to be had.
        """
        ...

    def forget(self, token: str) -> None:
        """Drop a token that the service refused, so that the next call asks anew. Harmless if it is gone
        already.
        """
        ...


class StaticTokens:
    """One token that somebody else keeps fresh."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        return self._token

    def forget(self, token: str) -> None:
        """Do nothing: there is no other token."""

    def __repr__(self) -> str:
        return "StaticTokens()"


@dataclass(slots=True)
class _Kept:
    token: str = field(default="", repr=False)
    refresh_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class IdentityTokens:
    """Tokens of one azure-identity credential: one request per tenant and lifetime, however many callers
    wait.
    """

    def __init__(
        self, kind: str, make: Callable[[], TokenCredential], scope: str, *, clock: Clock | None = None
    ) -> None:
        self._kind = kind
        self._make = make
        self._scope = scope
        self._clock = clock or SystemClock()
        self._credential: TokenCredential | None = None
        self._kept: dict[str | None, _Kept] = {}

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        """Return a kept token, or ask for one; a credential of one tenant only gives that one's."""
        tenant = None if self._kind in _OF_ONE_TENANT else tenant
        kept = self._kept.setdefault(tenant, _Kept())
        async with kept.lock:
            if claims is None and kept.token and self._clock.now() < kept.refresh_at:
                return kept.token
            kept.token, expires = await asyncio.to_thread(self._ask, tenant, claims)
            kept.refresh_at = expires - REFRESH_BEFORE
            return kept.token

    def forget(self, token: str) -> None:
        for kept in self._kept.values():
            if kept.token == token:
                kept.token = ""

    def _ask(self, tenant: str | None, claims: str | None) -> tuple[str, float]:
        from azure.core.exceptions import AzureError

        try:
            if self._credential is None:
                self._credential = self._make()
            answer = self._credential.get_token(self._scope, claims=claims, tenant_id=tenant, enable_cae=True)
        except (AzureError, ValueError, OSError) as error:
            raise _no_token(self._kind, error) from error
        return answer.token, float(answer.expires_on)

    def __repr__(self) -> str:
        return f"IdentityTokens({self._kind!r})"


def _no_token(kind: str, error: Exception) -> AzureUnusable:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = " ".join(lines)[:600] or type(error).__name__
    return AzureUnusable(
        f"no token for Azure by the credential {kind!r}: {reason}", hint=_HINTS.get(kind, ""), code="no_token"
    )


def build(
    credential: Credential | Sequence[Credential], *, authority: str, scope: str, environ: Mapping[str, str]
) -> TokenSource:
    """Return the token source that the config describes; of a pool, the first. Nothing is asked for yet.

    Raises InvalidInput for a form that is none, and AzureUnusable if an environment variable it names is not
    set.
    """
    return build_pool(credential, authority=authority, scope=scope, environ=environ)[0]


def build_pool(
    credential: Credential | Sequence[Credential], *, authority: str, scope: str, environ: Mapping[str, str]
) -> tuple[TokenSource, ...]:
    """Return every token source of a pool; ARM's limits count per principal, so a pool may carry more."""
    forms: Sequence[Credential] = [credential] if isinstance(credential, (str, Mapping)) else credential
    if not forms:
        raise _bad_form(credential)
    return tuple(_source(form, authority, scope, environ) for form in forms)


def _source(form: Credential, authority: str, scope: str, environ: Mapping[str, str]) -> TokenSource:
    kind, values = _parts(form)
    if kind == "token_env":
        return StaticTokens(_from_environment(str(values.get("name", "")), environ))
    if kind == "client_secret":
        secret = _from_environment(str(values.get("secret_env", "")), environ)
        return IdentityTokens(kind, lambda: _client_secret(values, secret, authority), scope)
    makers: dict[str, Callable[[], TokenCredential]] = {
        "default": lambda: _default(authority),
        "cli": _cli,
        "environment": lambda: _environment(authority),
        "managed_identity": lambda: _managed_identity(
            str(values.get("client_id") or environ.get("AZURE_CLIENT_ID", ""))
        ),
        "workload_identity": lambda: _workload_identity(authority),
    }
    return IdentityTokens(kind, makers[kind], scope)


_MAPPINGS = {
    "client_secret": frozenset({"tenant_id", "client_id", "secret_env"}),
    "managed_identity": frozenset({"client_id"}),
}


def _parts(form: Credential) -> tuple[str, Mapping[str, object]]:
    """Take a form apart into its kind and its values; raises InvalidInput."""
    if isinstance(form, str):
        if form in _HINTS and form != "client_secret":
            return form, {}
    elif isinstance(form, Mapping) and len(form) == 1:
        [(kind, values)] = form.items()
        if kind == "token_env" and isinstance(values, str) and values:
            return kind, {"name": values}
        if (
            kind in _MAPPINGS
            and isinstance(values, Mapping)
            and set(values) == _MAPPINGS[kind]
            and all(values.values())
        ):
            return kind, values
    raise _bad_form(form)


def _bad_form(form: object) -> InvalidInput:
    expected = (
        "default, cli, environment, managed_identity, workload_identity, "
        "{client_secret: {tenant_id, client_id, secret_env}}, {token_env: NAME}, or a list of these"
    )
    found = form if isinstance(form, str) else ", ".join(form) if isinstance(form, Mapping) else "an empty list"
    return InvalidInput(
        [
            Problem(
                "credential",
                f"azure.credential cannot be used: expected {expected}",
                found=found,
                expected=expected,
            )
        ]
    )


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise AzureUnusable(
            f"the environment variable {name} is not set, and azure.credential takes its secret there",
            hint=f"set {name}, or change azure.credential in the config",
            code="no_token",
        )
    if len(value) >= _SHORTEST_SECRET:
        conceal(value)
    return value


def _host(authority: str) -> str:
    return urlsplit(authority).netloc or authority


def _private(authority: str) -> bool:
    """Say whether an authority is outside Microsoft's clouds, where instance discovery finds nothing."""
    return _host(authority) not in {
        "login.microsoftonline.com",
        "login.chinacloudapi.cn",
        "login.partner.microsoftonline.cn",
        "login.microsoftonline.us",
    }


def _default(authority: str) -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(authority=_host(authority), additionally_allowed_tenants=_ANY_TENANT)


def _cli() -> TokenCredential:
    from azure.identity import AzureCliCredential

    return AzureCliCredential(process_timeout=30, additionally_allowed_tenants=_ANY_TENANT)


def _environment(authority: str) -> TokenCredential:
    from azure.identity import EnvironmentCredential

    return EnvironmentCredential(authority=_host(authority), additionally_allowed_tenants=_ANY_TENANT)


def _managed_identity(client_id: str) -> TokenCredential:
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id) if client_id else ManagedIdentityCredential()


def _workload_identity(authority: str) -> TokenCredential:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(authority=_host(authority), additionally_allowed_tenants=_ANY_TENANT)


def _client_secret(values: Mapping[str, object], secret: str, authority: str) -> TokenCredential:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(
        str(values["tenant_id"]),
        str(values["client_id"]),
        secret,
        authority=_host(authority),
        disable_instance_discovery=_private(authority),
        additionally_allowed_tenants=_ANY_TENANT,
    )
