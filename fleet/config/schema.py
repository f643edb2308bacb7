"""The table of the configuration's keys: what may be written, what it means, its default and why.

``config.example.yaml``, the reference page and the names of the environment variables are held to this table.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, Field

from fleet.config.urls import service_url
from fleet.documents import schema
from fleet.documents.read import Keys, refusal
from fleet.documents.schema import Duration


def _url(value: str) -> str:
    return service_url(value).rstrip("/")


Url = Annotated[str, AfterValidator(_url), Field(json_schema_extra={"title": "URL"})]
Name = Annotated[str, Field(min_length=1)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class CustomCloud(Keys):
    """A cloud with addresses of its own: a private cloud, a test server. Plain http only for this machine."""

    resource_manager: Url = Field(
        description="Where Azure Resource Manager answers.", examples=["https://management.example.org"]
    )
    authority: Url = Field(description="Where tokens come from.", examples=["https://login.example.org"])
    audience: Url | None = Field(
        default=None,
        description="What tokens are asked for; if left out, the address of Resource Manager.",
        examples=["https://management.example.org"],
    )


class ClientSecret(Keys):
    """A service principal. The secret itself is never part of the config."""

    tenant_id: Name = Field(description="The tenant.", examples=["contoso.onmicrosoft.com"])
    client_id: Name = Field(description="The application.", examples=["00000000-0000-0000-0000-000000000001"])
    secret_env: Variable = Field(
        description="The environment variable that holds the secret.", examples=["FLEET_CLIENT_SECRET"]
    )


class ClientCertificate(Keys):
    """A service principal that signs in by a certificate."""

    tenant_id: Name = Field(description="The tenant.", examples=["contoso.onmicrosoft.com"])
    client_id: Name = Field(description="The application.", examples=["00000000-0000-0000-0000-000000000001"])
    path: Name = Field(
        description="A PEM or PKCS12 file with certificate and private key (RSA).", examples=["/etc/fleet/fleet.pem"]
    )
    password_env: Variable | None = Field(
        default=None,
        description="The environment variable that holds the file's password. None: it has none.",
        examples=["FLEET_CERTIFICATE_PASSWORD"],
    )


class ManagedIdentity(Keys):
    """A managed identity that is not the machine's only one."""

    client_id: Name = Field(description="The identity's client id.", examples=["00000000-0000-0000-0000-000000000001"])


_FORMS = ("client_secret", "client_certificate", "managed_identity", "token_env")


class CredentialForm(Keys):
    """A credential that needs more than a word: exactly one of these."""

    model_config = pydantic.ConfigDict(
        title="Credential",
        json_schema_extra={"oneOf": [{"required": [key]} for key in _FORMS]},
    )

    client_secret: ClientSecret | None = Field(
        default=None,
        description="A service principal with a secret.",
        examples=[{"tenant_id": "T", "client_id": "C", "secret_env": "FLEET_CLIENT_SECRET"}],
    )
    client_certificate: ClientCertificate | None = Field(
        default=None,
        description="A service principal with a certificate.",
        examples=[{"tenant_id": "T", "client_id": "C", "path": "fleet.pem"}],
    )
    managed_identity: ManagedIdentity | None = Field(
        default=None, description="One managed identity of several.", examples=[{"client_id": "C"}]
    )
    token_env: Variable | None = Field(
        default=None,
        description="The environment variable that holds a token which somebody else keeps fresh.",
        examples=["ARM_TOKEN"],
    )

    @pydantic.model_validator(mode="after")
    def _one(self) -> CredentialForm:
        if len(self.model_dump(exclude_none=True)) != 1:
            expected = f"exactly one of {', '.join(_FORMS)}"
            raise refusal("credential", "is no single credential", expected=expected, hint=expected)
        return self


CredentialKey = Literal["default", "cli", "environment", "managed_identity", "workload_identity"] | CredentialForm


def api_version(value: str) -> str:
    """Let an api-version of Azure through. Raises a refusal for another text."""
    try:
        if _API_VERSION.fullmatch(value):
            date.fromisoformat(value[:10])
            return value
    except ValueError:
        pass
    expected = "a date as in 2024-11-01, perhaps with -preview after it"
    raise refusal("pattern", "is not an api-version", expected=expected)


_API_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?", re.ASCII)
ApiVersion = Annotated[
    str,
    AfterValidator(api_version),
    Field(json_schema_extra={"title": "api-version", "pattern": f"^{_API_VERSION.pattern}$"}),
]


class ApiVersions(Keys):
    """Which api-version each kind of request is asked with, for a cloud that does not have the default ones."""

    compute: ApiVersion | None = Field(
        default=None,
        description="VMs, scale sets and run commands on them (Microsoft.Compute). None: 2024-11-01. Before 2021-07-01 there "
        "are no managed commands: `transport: auto` then takes the action.",
        examples=["2020-06-01"],
    )
    gallery_scripts: ApiVersion | None = Field(
        default=None,
        description="Managed commands with a script of a gallery or PowerShell 7; the later one of this and `compute`. None: "
        "2025-04-01, the first that knows them.",
        examples=["2025-04-01"],
    )
    hybrid_compute: ApiVersion | None = Field(
        default=None,
        description="Arc machines and run commands on them (Microsoft.HybridCompute). None: 2025-01-13.",
        examples=["2024-07-10"],
    )
    resource_graph: ApiVersion | None = Field(
        default=None,
        description="The query that finds VMs (Microsoft.ResourceGraph). None: 2022-10-01.",
        examples=["2021-03-01"],
    )
    subscriptions: ApiVersion | None = Field(
        default=None,
        description="The list of subscriptions (Microsoft.Resources). None: 2022-12-01.",
        examples=["2019-06-01"],
    )
    authorization: ApiVersion | None = Field(
        default=None,
        description="What a principal may do, which `fleet doctor` reads (Microsoft.Authorization). None: 2022-04-01.",
        examples=["2015-07-01"],
    )
    locks: ApiVersion | None = Field(
        default=None,
        description="Locks, which `fleet doctor` reads (Microsoft.Authorization). None: 2016-09-01.",
        examples=["2015-01-01"],
    )


class AzureKeys(Keys):
    """How to reach Azure."""

    cloud: Literal["public", "china", "usgovernment"] | CustomCloud = Field(
        default="public", description="Which Azure.", examples=["usgovernment"]
    )
    credential: CredentialKey | Annotated[list[CredentialKey], Field(min_length=1)] = Field(
        default="default",
        title="`default`, `cli`, `environment`, `managed_identity`, `workload_identity`, a [Credential]"
        "(#credential), or a list of these",
        description="Who to be. `default` tries environment, workload identity, managed identity and "
        "`az login` in this order. A list is a pool of principals: ARM counts its limits for each.",
        examples=["cli"],
    )
    tenant: Name | None = Field(
        default=None,
        description="The tenant to sign in to, by id or domain. None: the credential's own. A subscription of another "
        "tenant gets a token of that tenant in any case.",
        examples=["contoso.onmicrosoft.com"],
    )
    ca_file: Name | None = Field(
        default=None,
        description="A PEM file of further certificate authorities, for proxies and private clouds; signing in trusts "
        "them too.",
        examples=["/etc/ssl/proxy.pem"],
    )
    api_versions: ApiVersions | None = Field(
        default=None,
        description="Other api-versions than the default ones, for a cloud that gets new ones late. None: the default ones. "
        "See [api-versions](api-versions.md).",
        examples=[{"compute": "2020-06-01"}],
    )
    subscriptions: Annotated[list[Name], Field(min_length=1)] | None = Field(
        default=None,
        description="Where expressions on the command line look for VMs: names or ids, globs allowed. A "
        "playbook names its own. None: all that the credential can see.",
        examples=[["prod-*"]],
    )


class RunKeys(Keys):
    """How a run behaves where the playbook says nothing."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"] = Field(
        default="auto",
        description="Jobs in flight, where the playbook names no number. `auto`: as many as Azure's limits and memory "
        "allow; a budget bounds them further.",
        examples=[60],
    )
    concurrency_per_subscription: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="Jobs in flight in one subscription. None: only `run.concurrency` counts.",
        examples=[200],
    )
    transport: Literal["auto", "managed", "action"] = Field(
        default="auto",
        description="Which Run Command carries scripts. `auto` takes managed wherever it can.",
        examples=["managed"],
    )
    receipts: bool = Field(
        default=True,
        description="Wrap scripts so that they print a receipt that proves what ran. Without it the action "
        "API has no exit code, and its rows are `unverified`.",
        examples=[False],
    )
    deliver_timeout: Duration = Field(
        default=1800.0,
        description="How long a submission may be refused (throttled, VM busy, not connected) before the VM "
        "counts as unreachable. Long enough to sit out a throttling window, short enough to end a run.",
        examples=["10m"],
        json_schema_extra={"default": "30m"},
    )
    start_timeout: Duration = Field(
        default=600.0,
        description="How long an accepted managed command may show no start before the agent of its VM is read; never "
        "longer than `run.deliver_timeout`. If the agent is not ready, the row is `unknown` (`agent_not_ready`) and the "
        "command is deleted; if it is ready, the command is followed to its time limit.",
        examples=["5m"],
        json_schema_extra={"default": "10m"},
    )
    answer_grace: Duration = Field(
        default=600.0,
        description="How long after a step's own time limit its answer is waited for before it is unknown. "
        "The service may take minutes to say how a script ended.",
        examples=["5m"],
        json_schema_extra={"default": "10m"},
    )
    require_approval: bool = Field(
        default=False,
        description="Carry out approved plan files only: `fleet apply` asks for what `fleet approve PLANFILE` leaves, and "
        "`run`, `exec` and `rerun` are refused. A rule among colleagues, no wall.",
        examples=[True],
    )


class ConfigKeys(Keys):
    """The file `config.yaml`. Every key may be left out."""

    azure: AzureKeys = Field(
        default=AzureKeys.model_construct(), description="How to reach Azure.", examples=[{"cloud": "china"}]
    )
    run: RunKeys = Field(
        default=RunKeys.model_construct(), description="How a run behaves.", examples=[{"concurrency": 60}]
    )
    state_dir: Name | None = Field(
        default=None,
        description="Where runs are kept. None: `$XDG_STATE_HOME/fleet`, else `~/.local/state/fleet`.",
        examples=["/var/lib/fleet"],
    )


def reference() -> str:
    """Return the Markdown reference of all keys; ``docs/configuration.md`` holds it (tested)."""
    return schema.reference(ConfigKeys)
