"""Where tokens come from. The only importer of azure-identity, and only once a token is needed."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from fleet.azure import az
from fleet.azure.trust import trusting
from fleet.azure.wire import entra
from fleet.azure.wire.certificates import fault_of
from fleet.clock import Clock, SystemClock
from fleet.documents.files import read_start
from fleet.errors import AzureUnusable, InvalidInput, Problem
from fleet.logs import conceal

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

REFRESH_BEFORE = 300.0
"""Seconds before expiry at which a token is replaced; azure-identity's own margin is the same."""

SHORTEST_USE = 30.0
"""Seconds, or half its life, for which a token is used in any case: one that lives minutes is not asked for each time."""

SIGN_INS = 8
"""Principals of a pool that sign in at once: each takes a thread, and with ``az`` a process."""

_ANY_TENANT = ["*"]
"""Tokens are asked for other tenants than the credential's own only where a subscription lies there, and only for Azure
Resource Manager; azure-identity refuses that unless it is allowed beforehand."""

_OF_ONE_TENANT = frozenset({"managed_identity"})

_RETRIES: Mapping[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.3, "connection_timeout": 10}
"""azure-identity tries ten times over minutes; whoever waits for a sign-in would rather hear that it fails."""

_SHORTEST_SECRET = 8
"""Characters. A shorter one, masked wherever it shows, would riddle the log and still be guessed."""

Credential = str | Mapping[str, object]

_HINTS = {
    "default": "run `az login`, or set azure.credential in the config; --lab tries Fleet on a pretend Azure",
    "cli": "run `az login`, and see that `az` is on the PATH; --lab tries Fleet on a pretend Azure",
    "environment": "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
    "managed_identity": "give this machine a managed identity; AZURE_CLIENT_ID names a user-assigned one",
    "workload_identity": "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE",
    "client_secret": "check tenant_id, client_id and the secret's expiry",
    "client_certificate": "check tenant_id, client_id, and that the file holds certificate and private key",
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


@dataclass(frozen=True, slots=True)
class SignIn:
    """Where tokens come from, what they are for, and of which tenant (empty: the credential's own)."""

    authority: str
    scope: str
    tenant: str = ""
    ca_file: str | None = None


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
        self,
        kind: str,
        make: Callable[[], TokenCredential],
        scope: str,
        *,
        home: str | None = None,
        clock: Clock | None = None,
        places: anyio.CapacityLimiter | None = None,
    ) -> None:
        self._kind = kind
        self._make = make
        self._scope = scope
        self._home = home
        """The tenant that is asked where a call names none; None for the credential's own."""
        self._clock = clock or SystemClock()
        self._places = places
        """How many of a pool may sign in at once; None for as many as anyio allows."""
        self._credential: TokenCredential | None = None
        self._kept: dict[str | None, _Kept] = {}

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        """Return a kept token, or ask for one; a credential of one tenant only gives that one's."""
        tenant = None if self._kind in _OF_ONE_TENANT else tenant or self._home
        kept = self._kept.setdefault(tenant, _Kept())
        async with kept.lock:
            if claims is None and kept.token and self._clock.now() < kept.refresh_at:
                return kept.token
            kept.token, expires = await anyio.to_thread.run_sync(
                self._ask, tenant, claims, abandon_on_cancel=True, limiter=self._places
            )
            now = self._clock.now()
            kept.refresh_at = max(now + min(SHORTEST_USE, (expires - now) / 2), expires - REFRESH_BEFORE)
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
    text = str(error)
    if told := _absent(kind, text):
        return AzureUnusable(told, hint=_HINTS[kind], code="no_token")
    if (host := _UNREACHED.search(text)) is not None:
        return AzureUnusable(
            f"the sign-in service {host[1]} cannot be reached",
            hint="check the network, the proxy (HTTPS_PROXY) and azure.cloud",
            code="no_token",
        )
    text = _ADVICE.sub("", text)
    reason = entra.reason(text) or type(error).__name__
    return AzureUnusable(
        f"no token for Azure by the credential {kind!r}: {reason}",
        hint=entra.hint(text) or _HINTS.get(kind, ""),
        code="no_token",
    )


_ADVICE = re.compile(r"\s*(Visit https://aka\.ms/|To mitigate this issue, )[^\n]*")
"""What azure-identity adds to each message: an address for its own users."""

_UNREACHED = re.compile(
    r"\(host='([^']+)', port=\d+\).*(?:Failed to (?:resolve|establish)|Connection refused|timed out)", re.DOTALL
)
"""How the library under azure-identity says that it reached nobody."""

_LAST_WAY = re.compile(r"\bAzLogin: ([^\n]+)")
"""What came of ``az``, the last way that the default tries."""

_UNAVAILABLE = " authentication unavailable"
"""What azure-identity says of a way to sign in that does not exist here."""


def _absent(kind: str, text: str) -> str:
    """Say in a sentence that nothing is there to sign in with; empty where something was, and failed."""
    if "AADSTS" in text or fault_of(text) is not None:
        return ""
    if kind in ("default", "cli") and az.NOT_SIGNED_IN in text:
        return "not signed in to Azure"
    if kind in ("default", "cli") and az.NOT_FOUND in text:
        return "not signed in to Azure: the Azure CLI (az) is not on the PATH"
    if kind == "default" and (last := _LAST_WAY.search(text)) is not None:
        return f"not signed in to Azure: {last[1][:600].strip()}"
    if kind == "managed_identity" and _UNAVAILABLE in text:
        return "not signed in to Azure: no managed identity answers on this machine"
    if kind == "environment" and _UNAVAILABLE in text:
        return "not signed in to Azure: the environment does not hold a whole credential"
    if kind == "workload_identity" and _UNAVAILABLE in text:
        return "not signed in to Azure: the environment does not hold a workload identity"
    return ""


def build(credential: Credential | Sequence[Credential], where: SignIn, environ: Mapping[str, str]) -> TokenSource:
    """Return the token source that the config describes; of a pool, the first. Nothing is asked for yet.

    Raises InvalidInput for a form that is none or cannot be of the tenant asked for, and AzureUnusable if an
    environment variable or a file that it names is not there.
    """
    return build_pool(credential, where, environ)[0]


def build_pool(
    credential: Credential | Sequence[Credential], where: SignIn, environ: Mapping[str, str]
) -> tuple[TokenSource, ...]:
    """Return every token source of a pool; ARM's limits count per principal, so a pool may carry more.

    A file of a certificate is read, which may wait for a pipe.
    """
    forms: Sequence[Credential] = [credential] if isinstance(credential, (str, Mapping)) else credential
    if not forms:
        raise _bad_form(credential)
    places = anyio.CapacityLimiter(SIGN_INS)
    return tuple(_source(form, where, environ, places) for form in forms)


def _source(form: Credential, where: SignIn, environ: Mapping[str, str], places: anyio.CapacityLimiter) -> TokenSource:
    kind, values = parts(form)
    if where.tenant and (kind == "token_env" or kind in _OF_ONE_TENANT):
        raise InvalidInput([_other_tenant(kind, where.tenant)])
    if kind == "token_env":
        return StaticTokens(_from_environment(values["name"], environ))
    secret = _from_environment(values["secret_env"], environ) if "secret_env" in values else ""
    password = _from_environment(values["password_env"], environ) if "password_env" in values else ""
    certificate = _certificate(values["path"]) if kind == "client_certificate" else b""
    identity = values.get("client_id") or environ.get("AZURE_CLIENT_ID", "")
    makers: dict[str, Callable[[], TokenCredential]] = {
        "default": lambda: _default(where, environ),
        "cli": lambda: _cli(environ),
        "environment": lambda: _environment(where),
        "managed_identity": lambda: _managed_identity(identity),
        "workload_identity": lambda: _workload_identity(where),
        "client_secret": lambda: _client_secret(values, secret, where),
        "client_certificate": lambda: _client_certificate(values, certificate, password, where),
    }
    return IdentityTokens(kind, makers[kind], where.scope, home=where.tenant or None, places=places)


def _other_tenant(kind: str, tenant: str) -> Problem:
    return Problem(
        "tenant",
        f"azure.credential {kind!r} has tokens of its own tenant only, and azure.tenant (--tenant) asks for another",
        found=tenant,
        hint="leave the tenant out, or use another credential",
    )


def _certificate(path: str) -> bytes:
    """Read a certificate, before anything is asked of Azure. Raises AzureUnusable."""
    try:
        data = read_start(Path(path), _MOST_CERTIFICATE + 1)
        if len(data) > _MOST_CERTIFICATE:
            raise OSError(errno.EFBIG, f"it has more than {_MOST_CERTIFICATE:,} bytes")
        return data
    except OSError as error:
        raise AzureUnusable(
            f"the certificate file {path} of azure.credential cannot be read: {error.strerror}",
            hint="it is a PEM or PKCS12 file with certificate and private key",
            code="no_token",
        ) from error


_MOST_CERTIFICATE = 1 << 20


_PARTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "client_secret": (frozenset({"tenant_id", "client_id", "secret_env"}), frozenset()),
    "client_certificate": (frozenset({"tenant_id", "client_id", "path"}), frozenset({"password_env"})),
    "managed_identity": (frozenset({"client_id"}), frozenset()),
}
"""What the forms that are mappings must have, and may have."""

_WORDS = frozenset({"default", "cli", "environment", "managed_identity", "workload_identity"})


def parts(form: Credential) -> tuple[str, Mapping[str, str]]:
    """Take a form apart into its kind and its values; raises InvalidInput."""
    if isinstance(form, str):
        if form in _WORDS:
            return form, {}
    elif isinstance(form, Mapping) and len(form) == 1:
        [(kind, values)] = form.items()
        if kind == "token_env" and isinstance(values, str) and values:
            return kind, {"name": values}
        if kind in _PARTS and isinstance(values, Mapping) and all(values.values()):
            needed, allowed = _PARTS[kind]
            if needed <= set(values) <= needed | allowed:
                return kind, {name: str(value) for name, value in values.items()}
    raise _bad_form(form)


def _bad_form(form: object) -> InvalidInput:
    expected = (
        "default, cli, environment, managed_identity, workload_identity, "
        "{client_secret: {tenant_id, client_id, secret_env}}, "
        "{client_certificate: {tenant_id, client_id, path, password_env}}, {token_env: NAME}, or a list of these"
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


def _options(where: SignIn) -> dict[str, Any]:
    """What every credential that asks Entra itself is made with."""
    options: dict[str, Any] = {
        **_RETRIES,
        "authority": where.authority,
        "disable_instance_discovery": _private(where.authority),
        "additionally_allowed_tenants": _ANY_TENANT,
    }
    if where.ca_file:
        options["transport"] = _trusting_transport(where.ca_file)
    return options


def _trusting_transport(ca_file: str) -> object:
    """An HTTP transport of azure-core whose connections trust ``azure.ca_file`` too, through proxies as well."""
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from requests.adapters import HTTPAdapter

    class Trusting(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options, ssl_context=trusting(ca_file))

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, **options, ssl_context=trusting(ca_file))

    session = requests.Session()
    session.mount("https://", Trusting())
    return RequestsTransport(session=session, session_owner=False)


def _default(where: SignIn, environ: Mapping[str, str]) -> TokenCredential:
    """Try what the environment names, then the machine's identity, then ``az login``.

    azure-identity's own default also starts PowerShell and azd, and all of them with every variable of this process.
    """
    from azure.identity import ChainedTokenCredential, ManagedIdentityCredential

    links: list[TokenCredential] = [_environment(where)]
    if all(environ.get(name) for name in _FEDERATED):
        links.append(_workload_identity(where))
    links.append(ManagedIdentityCredential(client_id=environ.get("AZURE_CLIENT_ID") or None))
    return ChainedTokenCredential(*links, _cli(environ))


_FEDERATED = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")


def _cli(environ: Mapping[str, str]) -> TokenCredential:
    from azure.core.credentials import AccessToken
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import CredentialUnavailableError

    class AzLogin:
        """What azure-identity calls a credential."""

        def get_token(
            self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **options: Any
        ) -> AccessToken:
            try:
                if claims:
                    raise az.AzFailed(f"{az.NOT_SIGNED_IN}: Azure asks for more than before", is_unavailable=True)
                text, expires = az.token(scopes[0], tenant_id, environ)
            except az.AzFailed as error:
                kind = CredentialUnavailableError if error.is_unavailable else ClientAuthenticationError
                raise kind(message=str(error)) from error
            return AccessToken(text, int(expires))

    return AzLogin()


def _environment(where: SignIn) -> TokenCredential:
    from azure.identity import EnvironmentCredential

    return EnvironmentCredential(**_options(where))


def _managed_identity(client_id: str) -> TokenCredential:
    from azure.identity import ChainedTokenCredential, ManagedIdentityCredential

    found = ManagedIdentityCredential(client_id=client_id) if client_id else ManagedIdentityCredential()
    # In a chain its endpoint is first looked for, for a second; else its absence takes half a minute to be told.
    return ChainedTokenCredential(found)


def _workload_identity(where: SignIn) -> TokenCredential:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(**_options(where))


def _client_secret(values: Mapping[str, str], secret: str, where: SignIn) -> TokenCredential:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(values["tenant_id"], values["client_id"], secret, **_options(where))


def _client_certificate(values: Mapping[str, str], certificate: bytes, password: str, where: SignIn) -> TokenCredential:
    from azure.identity import CertificateCredential

    more = {"password": password} if password else {}
    # The chain goes along for applications that trust a subject and issuer instead of one certificate (documented).
    return CertificateCredential(
        values["tenant_id"],
        values["client_id"],
        certificate_data=certificate,
        send_certificate_chain=True,
        **more,
        **_options(where),
    )
