"""Who shares rates: everything in one process that signs in alike at one cloud."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from pathlib import Path

import pytest

from fleet.app import runs
from fleet.app.connect import Connection, connect, shared_rates
from fleet.app.fleet import LAB, Fleet
from fleet.azure.credentials import Credential
from fleet.azure.principals import principal_names
from fleet.clock import SystemClock
from fleet.config.load import Config, load
from fleet.engine.turns import SharedRates
from fleet.run.answers import Refusal
from fleet.testing import Behaviour, MemoryRuns, ScriptedCloud
from tests.unit.run.factory import plan


def token(**said: str) -> str:
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"x.{body}.x"


def config(folder: Path, **environ: str) -> Config:
    return load(flags={}, environ={"FLEET_STATE_DIR": str(folder), **environ}, cwd=folder, home=folder)[0]


async def shared_of(settings: Config, *labs: str) -> list[SharedRates]:
    """Open a connection to each lab, all at the same time, and return the rates of each."""
    fleets = [Fleet(settings, lab=lab, environ={}) for lab in labs]
    for fleet in fleets:
        await fleet.__aenter__()
    found = [fleet.connection.shared for fleet in fleets]
    for fleet in fleets:
        await fleet.__aexit__(None, None, None)
    return found


def test_two_objects_with_one_sign_in_share(tmp_path: Path) -> None:
    """Two that use one lab share its rates; another lab's are its own, and so are those of a lab that only one can reach."""
    one, same, other = asyncio.run(
        shared_of(config(tmp_path), "http://127.0.0.1:9", "http://127.0.0.1:9/", "http://127.0.0.1:8")
    )
    assert one is same and one is not other
    mine, theirs = asyncio.run(shared_of(config(tmp_path), LAB, LAB))
    assert mine is not theirs


def test_a_token_of_the_environment_tells_who_shares(tmp_path: Path) -> None:
    """With the real cloud, who signs in decides, not how the settings name it."""

    async def opened() -> list[SharedRates]:
        found = []
        for name, owner in (("A", "ann"), ("B", "ann"), ("A", "bob")):
            environ = {name: token(oid=owner), "FLEET_AZURE_CREDENTIAL": json.dumps({"token_env": name})}
            async with connect(config(tmp_path, **environ), None, environ) as connection:
                found.append(connection.shared)
        return found

    ann, ann_again, bob = asyncio.run(opened())
    assert ann is ann_again and ann is not bob


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        (["default"], ["default"], True),
        (["default"], ["cli"], False),
        ([{"client_secret": {"tenant_id": "t", "client_id": "C", "secret_env": "S"}}], ["workload_identity"], True),
        ([{"managed_identity": {"client_id": "c"}}], [{"managed_identity": {"client_id": "d"}}], False),
        (["cli", "default"], ["default", "cli"], True),
        (["cli", "default"], ["cli"], False),
    ],
)
def test_who_signs_in_is_named_without_asking(first: list[Credential], second: list[Credential], alike: bool) -> None:
    """An application is named by its id, whatever proves it; where that cannot be told, the way to sign in counts."""
    names = [sorted(principal_names(each, {"AZURE_CLIENT_ID": "c"})) for each in (first, second)]
    assert (names[0] == names[1]) is alike


def test_rates_are_shared_by_who_signs_in_alike(tmp_path: Path) -> None:
    """By the same object while one is in use, and by what was sent also afterwards; other sign-ins know nothing of it."""
    kept = shared_rates(tmp_path, "https://cloud", ["a"])
    kept.rates.arm("s").writes.take(1000.0)
    assert shared_rates(tmp_path, "https://cloud/", ["a"]) is kept
    del kept
    gc.collect()
    assert shared_rates(tmp_path, "https://cloud", ["a"]).rates.arm("s").writes.level.read().full_at > 1000.0
    for folder, address, who in ((tmp_path, "https://cloud", "b"), (tmp_path / "other", "https://cloud", "a")):
        assert shared_rates(folder, address, [who]).rates.arm("s").writes.level.read().full_at == 0.0


def test_a_run_counts_where_its_connection_does() -> None:
    """What a run sends over a connection is taken from the rates that the connection shares."""
    gone = Behaviour(refuse=Refusal(404, "ResourceNotFound", "no such VM"), latency=0.0)

    async def carried_out() -> SharedRates:
        opened = await runs.begin(MemoryRuns(), plan(2), {}, SystemClock(), {})
        cloud = ScriptedCloud(lambda command, n: gone)
        connection = Connection(cloud, None, None, None, "lab")  # type: ignore[arg-type]
        await runs.carry_out(opened, connection, {}, SystemClock(), lambda event: None, runs.Stop())
        return connection.shared

    shared = asyncio.run(carried_out())
    sent = {bucket.name for bucket in shared.rates.levels(0.0)}
    assert {"writes", "updates"} <= sent
