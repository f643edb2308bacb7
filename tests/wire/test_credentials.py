"""Clouds and credentials: where tokens come from, how often they are asked for, and what is never shown."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError

from fleet.azure.clouds import CLOUDS, endpoints
from fleet.azure.credentials import IdentityTokens, SignIn, TokenSource, build, build_pool
from fleet.errors import AzureUnusable, InvalidInput

PUBLIC = CLOUDS["public"]


@dataclass
class Clock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time


@dataclass
class Issued:
    token: str
    expires_on: int


@dataclass
class Identity:
    """Stands for a credential of azure-identity: hands out one token after the other."""

    clock: Clock
    asked: list[Mapping[str, object]] = field(default_factory=list)
    error: Exception | None = None
    life: int = 3600

    def get_token(self, *scopes: str, **options: object) -> Issued:
        self.asked.append({"scopes": scopes, **options})
        if self.error:
            raise self.error
        return Issued(f"token-{len(self.asked)}", int(self.clock.time) + self.life)


def tokens(identity: Identity, clock: Clock) -> IdentityTokens:
    return IdentityTokens("cli", lambda: identity, "scope", clock=clock)  # type: ignore[arg-type,return-value]


def source(credential: object, environ: Mapping[str, str] | None = None) -> TokenSource:
    return build(credential, SignIn(PUBLIC.authority, PUBLIC.scope), environ or {})  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_many_waiters_make_one_request() -> None:
    """One token for all, however many ask at once."""
    clock = Clock()
    identity = Identity(clock)
    shared = tokens(identity, clock)
    assert set(await asyncio.gather(*(shared.token() for _ in range(200)))) == {"token-1"}
    assert len(identity.asked) == 1


@pytest.mark.asyncio
async def test_a_token_is_replaced_five_minutes_before_it_expires() -> None:
    """Kept until then, fresh from then on."""
    clock = Clock()
    shared = tokens(Identity(clock), clock)
    assert await shared.token() == "token-1"
    clock.time += 3600 - 301
    assert await shared.token() == "token-1"
    clock.time += 1
    assert await shared.token() == "token-2"


@pytest.mark.asyncio
@pytest.mark.parametrize(("life", "used"), [(6, 3), (50, 25), (200, 30), (320, 30), (400, 100)])
async def test_a_token_that_lives_minutes_is_used_all_the_same(life: int, used: int) -> None:
    """For half a minute, or half its life: it is not asked for again before each request."""
    clock = Clock()
    identity = Identity(clock, life=life)
    shared = tokens(identity, clock)
    for _ in range(10):
        assert await shared.token() == "token-1"
    clock.time += used - 1
    assert await shared.token() == "token-1"
    clock.time += 1
    assert await shared.token() == "token-2"


@pytest.mark.asyncio
async def test_a_refused_token_is_dropped_once_for_all() -> None:
    """A late refusal of an older token does not drop the fresh one."""
    clock = Clock()
    shared = tokens(Identity(clock), clock)
    old = await shared.token()
    shared.forget(old)
    assert await shared.token() == "token-2"
    shared.forget(old)
    assert await shared.token() == "token-2"


@pytest.mark.asyncio
async def test_claims_and_tenant_are_handed_on() -> None:
    """A challenge asks past the kept token; each tenant has its own."""
    clock = Clock()
    identity = Identity(clock)
    shared = tokens(identity, clock)
    await shared.token()
    assert await shared.token(claims='{"a":1}') == "token-2"
    assert await shared.token() == "token-2"
    assert await shared.token(tenant="t2") == "token-3"
    assert identity.asked[1]["claims"] == '{"a":1}'
    assert identity.asked[2]["tenant_id"] == "t2"
    assert all(asked["enable_cae"] is True for asked in identity.asked)


@pytest.mark.asyncio
async def test_a_failed_sign_in_is_a_sentence_with_a_hint() -> None:
    """The reason on one line, and what to do next."""
    clock = Clock()
    broken = tokens(Identity(clock, error=ClientAuthenticationError("Please\n  sign in")), clock)
    with pytest.raises(AzureUnusable, match="Please sign in") as raised:
        await broken.token()
    assert "az login" in raised.value.hint
    assert "\n" not in str(raised.value)


@pytest.mark.asyncio
async def test_a_token_from_the_environment_is_used_as_it_is() -> None:
    """And a variable that is not set is named."""
    assert await source({"token_env": "MY_TOKEN"}, {"MY_TOKEN": " abc\n"}).token() == "abc"
    with pytest.raises(AzureUnusable, match="MY_TOKEN"):
        source({"token_env": "MY_TOKEN"})


CERTIFICATE_FORM = {"client_certificate": {"tenant_id": "t", "client_id": "c", "path": __file__}}
SECRET_FORM = {"client_secret": {"tenant_id": "t", "client_id": "c", "secret_env": "S"}}


def test_secrets_are_in_no_repr() -> None:
    """Neither a token nor a client secret shows."""
    environ = {"S": "hunter2", "T": "hunter2"}
    for form in (SECRET_FORM, {"token_env": "T"}):
        assert "hunter2" not in repr(source(form, environ))


@pytest.mark.parametrize(
    "form", ["default", "cli", "environment", "managed_identity", "workload_identity", SECRET_FORM, CERTIFICATE_FORM]
)
def test_every_form_of_the_config_is_understood(form: object) -> None:
    """Nothing is asked for, and azure-identity not even imported, before the first token."""
    assert isinstance(source(form, {"S": "x"}), IdentityTokens)


@pytest.mark.parametrize(
    "form",
    [
        "az",
        "client_secret",
        "token_env",
        [],
        {},
        {"token_env": ""},
        {"client_secret": {"tenant_id": "t", "client_id": "c"}},
        {"client_secret": {"tenant_id": "t", "client_id": "c", "secret_env": "S", "secret": "x"}},
        {"client_certificate": {"tenant_id": "t", "client_id": "c"}},
        {"client_certificate": {"tenant_id": "t", "client_id": "c", "path": "p", "password": "x"}},
        {"default": {}, "cli": {}},
    ],
)
def test_a_form_that_is_none_is_refused_with_the_forms_there_are(form: object) -> None:
    """The message lists what would have been right."""
    with pytest.raises(InvalidInput, match="managed_identity"):
        source(form)


@pytest.mark.parametrize(("place", "why"), [("pipe", "named pipe"), ("/dev/zero", "more than"), (".", "directory")])
def test_a_certificate_that_is_no_file_is_said_at_once(tmp_path: Path, place: str, why: str) -> None:
    """Nothing is waited for, and no more is read than a certificate has."""
    os.mkfifo(tmp_path / "pipe")
    form = {"client_certificate": {**CERTIFICATE_FORM["client_certificate"], "path": str(tmp_path / place)}}
    with pytest.raises(AzureUnusable, match=rf"cannot be read: .*{why}"):
        source(form)


def test_a_list_is_a_pool() -> None:
    """Every principal of it is built, and the first is the one in use."""
    pool = build_pool(["cli", {"token_env": "T"}], SignIn(PUBLIC.authority, PUBLIC.scope), {"T": "x"})
    assert [type(item).__name__ for item in pool] == ["IdentityTokens", "StaticTokens"]


@pytest.mark.asyncio
async def test_a_tenant_that_is_asked_for_is_everybodys_who_can() -> None:
    """``azure.tenant`` stands where a call names none; a call's own tenant wins."""
    clock = Clock()
    identity = Identity(clock)
    shared = IdentityTokens("cli", lambda: identity, "scope", home="t1", clock=clock)  # type: ignore[arg-type,return-value]
    await shared.token()
    await shared.token(tenant="t2")
    assert [asked["tenant_id"] for asked in identity.asked] == ["t1", "t2"]


@pytest.mark.parametrize("form", ["managed_identity", {"token_env": "T"}])
def test_a_tenant_that_a_credential_cannot_have_is_refused(form: object) -> None:
    """Rather than to work in another tenant than the one that was asked for."""
    with pytest.raises(InvalidInput, match="own tenant only"):
        build(form, SignIn(PUBLIC.authority, PUBLIC.scope, "t1"), {"T": "x"})  # type: ignore[arg-type]


def test_azure_identity_is_not_imported_before_it_is_needed() -> None:
    """Its import costs more than a whole ``fleet validate``."""
    code = "import sys, fleet.azure.cloud, fleet.azure.inventory; sys.exit('azure.identity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_known_cloud_has_its_own_hosts() -> None:
    """US Government's scope is on another host than its service."""
    gov = endpoints("usgovernment")
    assert gov.scope == "https://management.core.usgovcloudapi.net/.default"
    assert gov.resource_manager == "https://management.usgovcloudapi.net"


def test_a_custom_cloud_is_taken_as_written() -> None:
    """The scope follows from the audience, else from the service's URL."""
    custom = {"resource_manager": "https://arm.local/", "authority": "https://login.local"}
    assert endpoints(custom).scope == "https://arm.local/.default"
    assert endpoints({**custom, "audience": "https://aud/"}).scope == "https://aud/.default"
    assert endpoints({**custom, "resource_manager": "http://127.0.0.1:8080"}).resource_manager.endswith(":8080")


@pytest.mark.parametrize(
    "cloud",
    [
        "german",
        {"resource_manager": "https://arm.local"},
        {"resource_manager": "http://arm.local", "authority": "https://l"},
        {"resource_manager": "https://u:p@arm.local", "authority": "https://l"},
        {"resource_manager": "https://arm.local:x", "authority": "https://l"},
    ],
)
def test_an_unusable_cloud_is_refused(cloud: str | Mapping[str, str]) -> None:
    """Unknown names, missing parts, plain http elsewhere and users in URLs are input mistakes."""
    with pytest.raises(InvalidInput, match=r"azure\.cloud"):
        endpoints(cloud)
