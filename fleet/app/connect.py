"""Opening a cloud: the real one, or a lab that is served here or is up elsewhere."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from fleet.app.stores import levels_of
from fleet.clock import wall_time
from fleet.documents.files import read_text
from fleet.engine.turns import SharedRates
from fleet.errors import StateError
from fleet.run.rates import Rates

if TYPE_CHECKING:
    from fleet.azure.credentials import TokenSource
    from fleet.config.load import Config
    from fleet.engine.ports import Blobs, Cloud, Gatekeeper, Inventory, ManagedCommands, Preflight
    from fleet.lab.arm.server import Lab
    from fleet.lab.arm.tls import TlsFiles
    from fleet.lab.world.spec import LabSpec

DEFAULT_LAB = "default"
"""What ``--lab`` without a value means: a lab of its own, with the default fleet."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A cloud that answers: the real one, or a lab."""

    cloud: Cloud
    inventory: Inventory
    preflight: Preflight
    managed: ManagedCommands
    name: str
    """``public``, another cloud's name or URL, or ``lab``; a run belongs to the cloud it was made for."""
    notes: tuple[str, ...] = ()
    principals: int = 1
    """How many can sign in, and share the calls."""
    gatekeeper: Gatekeeper | None = None
    """Who asks the webhooks of gates."""
    leases: str | None = None
    """What names this cloud among VM leases; None for a lab of this process alone, which nobody else can reach."""
    shared: SharedRates = field(default_factory=SharedRates)
    """The rates of who signs in here, shared by every open connection of the process that signs in alike."""


_shared: WeakValueDictionary[tuple[str, ...], SharedRates] = WeakValueDictionary()
"""The rates of each sign-in: the state folder and the cloud's address, then who signs in. Azure counts calls by principal
and subscription.
"""


def shared_rates(state_dir: Path, address: str, principals: Iterable[str]) -> SharedRates:
    """Return the rates of these principals at a cloud: the same ones for as long as anything uses them.

    Other processes with the same state folder count in the same levels.
    """
    sign_in = (address.rstrip("/"), *sorted(principals))
    found = _shared.get((str(state_dir), *sign_in))
    if found is None:
        rates = Rates(level_of=levels_of(state_dir, "\n".join(sign_in)))
        found = _shared.setdefault((str(state_dir), *sign_in), SharedRates(rates))
    return found


Opening = Callable[[], AbstractAsyncContextManager[Connection]]
"""Opens the cloud of a run that is kept, where it is needed at all."""


@asynccontextmanager
async def connect(
    config: Config, lab: str | None, environ: Mapping[str, str], *, runs_scripts: bool = True
) -> AsyncIterator[Connection]:
    """Open the cloud that config and ``--lab`` name, and close it in the end.

    ``lab`` is None for the real cloud, ``default``, a lab file, or the URL of a lab that is up. Where nothing is sent to a
    VM, ``runs_scripts`` is false: a lab that is served here then does not find out how it can run scripts.
    """
    from fleet.app.threads import in_thread
    from fleet.azure.clouds import endpoints
    from fleet.azure.credentials import SignIn, StaticTokens, build_pool
    from fleet.azure.principals import principal_names
    from fleet.azure.webhooks import Webhooks

    gatekeeper = Webhooks(environ, _text(config.azure.ca_file))
    if lab is None:
        ends = endpoints(config.azure.cloud)
        where = SignIn(ends.authority, ends.scope, config.azure.tenant or "", _text(config.azure.ca_file))
        tokens = await in_thread(build_pool, config.azure.credential, where, environ)
        name = cloud_name(config)
        ca_file, versions = _text(config.azure.ca_file), config.azure.api_versions
        shared = shared_rates(
            config.state_dir, ends.resource_manager, principal_names(config.azure.credential, environ)
        )
        async with _connected(ends.resource_manager, tokens, ca_file, name, (), versions, shared) as connection:
            yield replace(connection, leases=name, gatekeeper=gatekeeper)
    elif is_url(lab):
        ca_file, versions = _text(config.azure.ca_file), config.azure.api_versions
        shared = shared_rates(config.state_dir, lab, ["lab"])
        async with _connected(lab, (StaticTokens("lab"),), ca_file, "lab", (), versions, shared) as connection:
            yield replace(connection, leases=lab.rstrip("/"), gatekeeper=gatekeeper)
    else:
        versions = config.azure.api_versions
        async with (
            serve_lab(lab, runs_scripts=runs_scripts) as served,
            _connected(
                served.url, (StaticTokens("lab"),), served.ca_file, "lab", served.notes, versions, SharedRates()
            ) as connection,
        ):
            yield replace(connection, gatekeeper=gatekeeper)


@asynccontextmanager
async def blobs(config: Config) -> AsyncIterator[Blobs]:
    """Open the way to blobs whose addresses are signed: a session without a token."""
    from fleet.azure.blobs import AzureBlobs
    from fleet.azure.transport import Bare

    async with Bare(ca_file=_text(config.azure.ca_file)) as bare:
        yield AzureBlobs(bare)


def cloud_name(config: Config) -> str:
    """Return the name of the real cloud that the settings name: a custom one's is its address. Raises InvalidInput."""
    from fleet.azure.clouds import endpoints

    ends = endpoints(config.azure.cloud)
    return ends.name if ends.name != "custom" else ends.resource_manager


def is_url(lab: str) -> bool:
    """Whether ``--lab`` names a lab that is up elsewhere, not one to be served here."""
    return lab.startswith(("http://", "https://"))


@asynccontextmanager
async def _connected(
    url: str,
    tokens: tuple[TokenSource, ...],
    ca_file: str | None,
    name: str,
    notes: tuple[str, ...],
    versions: Mapping[str, str] | None,
    shared: SharedRates,
) -> AsyncIterator[Connection]:
    """Open the transport. Of a pool everybody signs in now: how many there are decides how fast calls may go."""
    from fleet.azure.cloud import AzureCloud
    from fleet.azure.inventory import AzureInventory
    from fleet.azure.managed import AzureManaged
    from fleet.azure.preflight import AzurePreflight
    from fleet.azure.transport import Transport
    from fleet.azure.wire.versions import Api

    chosen = {Api(name): version for name, version in (versions or {}).items()}
    async with Transport(url, tokens, ca_file=ca_file, versions=chosen) as transport:
        if len(tokens) > 1:
            await transport.principals.sign_in()
        pool = transport.principals
        shared.rates.share(len(pool.present))
        dropped = [f"principal {number + 1} is left out: {why}" for number, why in sorted(pool.problems.items())]
        yield Connection(
            AzureCloud(transport, shared=shared),
            AzureInventory(transport, shared=shared),
            AzurePreflight(transport, shared=shared),
            AzureManaged(transport, shared=shared),
            name,
            (*notes, *dropped),
            len(pool.present),
            shared=shared,
        )


@asynccontextmanager
async def serve_lab(lab: str, *, port: int = 0, tls: bool = False, runs_scripts: bool = True) -> AsyncIterator[Lab]:
    """Serve a lab on loopback: the default one, or a lab file's. Raises InvalidInput, StateError (port taken)."""
    from fleet.app.threads import in_thread
    from fleet.guest import envelope
    from fleet.lab.arm.server import serve

    with TemporaryDirectory(prefix="fleet-lab-") as folder:
        files = _tls_files(Path(folder)) if tls else None
        try:
            spec = await in_thread(lab_spec, lab)
            async with serve(spec, port=port, tls=files, envelope=envelope, runs_scripts=runs_scripts) as served:
                yield served
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            hint = "choose another with --port, or leave it out for a free one"
            raise StateError(f"port {port} is taken", hint=hint, code="port_taken") from error


def _tls_files(folder: Path) -> TlsFiles:
    from fleet.lab.arm.tls import make

    return make(folder, wall_time())


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def lab_spec(lab: str) -> LabSpec:
    """Read a lab file, or give the default lab. Raises InvalidInput."""
    from fleet.lab.world import spec

    if lab == DEFAULT_LAB:
        return spec.default()
    return spec.load(read_text(Path(lab), "the lab file"), file=lab)
