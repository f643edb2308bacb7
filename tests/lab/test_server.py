"""The lab at the wire: HTTP, TLS, its own pages, and its end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from fleet.clock import wall_time
from fleet.lab.arm import tls
from fleet.lab.arm.server import Lab, serve
from tests.lab.desk import SUB, spec
from tests.patience import stretched

VM = f"/subscriptions/{SUB}/resourceGroups/rg-one/providers/Microsoft.Compute/virtualMachines"
SHELL = {"commandId": "RunShellScript", "script": ["true"]}
TOKEN = {"Authorization": "Bearer t"}


@asynccontextmanager
async def client(lab: Lab, **more: object) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that is signed in."""
    async with aiohttp.ClientSession(lab.url, headers=TOKEN, **more) as session:  # type: ignore[arg-type]
        yield session


async def finished(session: aiohttp.ClientSession, url: str) -> dict[str, object]:
    """Poll an operation to its end."""
    async with asyncio.timeout(stretched(20)):
        while True:
            async with session.get(URL(url, encoded=True)) as answer:
                state: dict[str, object] = await answer.json()
            if state["status"] != "InProgress":
                return state
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_an_action_over_http() -> None:
    """An action goes from POST over polls to its result, and the lab counts one execution."""
    vms = {"name": "vm1", "rules": [{"stdout": "hi"}]}
    async with serve(spec(vms, speed=500.0)) as lab, client(lab) as session:
        async with session.post(f"{VM}/vm1/runCommand?api-version=2024-07-01", json=SHELL) as answer:
            assert answer.status == 202
            url = answer.headers["Azure-AsyncOperation"]
        state = await finished(session, url)
        assert state["status"] == "Succeeded"
        async with session.get("/lab/state") as answer:
            seen = await answer.json()
        assert list(seen["executions"].values()) == [1] == list(lab.executions.values())
        assert seen["requests"]["act"] == 1 == lab.requests["act"]


@pytest.mark.asyncio
async def test_a_thousand_vms_are_quick() -> None:
    """A thousand scripted VMs, all started at once, are done within seconds."""
    vms = {"name": "vm{n:04}", "count": 1000}
    limit = {"connector": aiohttp.TCPConnector(limit=100)}
    async with serve(spec(vms, speed=50.0)) as lab, client(lab, **limit) as session:

        async def start(n: int) -> str:
            path = f"{VM}/vm{n:04}/runCommand?api-version=2024-07-01"
            async with session.post(path, json=SHELL) as answer:
                return answer.headers["Azure-AsyncOperation"]

        async with asyncio.timeout(stretched(20)):
            urls = await asyncio.gather(*(start(n) for n in range(1, 1001)))
            states = [await finished(session, url) for url in urls]
        assert {state["status"] for state in states} == {"Succeeded"}
        assert sum(lab.executions.values()) == 1000


@pytest.mark.asyncio
async def test_dropped_answers() -> None:
    """A lost answer breaks the connection after the work was done; a reset before."""
    faults = [
        {"request": "submit", "kind": "lost_answer", "machines": "vm1"},
        {"request": "submit", "kind": "reset", "machines": "vm2"},
    ]
    lab_file = spec({"name": "vm{n}", "count": 2}, speed=500.0, faults=faults)
    async with serve(lab_file) as lab, client(lab) as session:
        for name in ("vm1", "vm2"):
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.post(f"{VM}/{name}/runCommand?api-version=2024-07-01", json=SHELL)
        await asyncio.sleep(0.2)
        assert [id.rpartition("/")[2] for id in lab.executions] == ["vm1"]


@pytest.mark.asyncio
async def test_a_truncated_answer() -> None:
    """A truncated answer has its status and promises its whole body, of which half comes; the work was done."""
    faults = [{"request": "submit", "kind": "truncated"}]
    async with serve(spec(speed=500.0, faults=faults)) as lab, client(lab) as session:
        body = {"location": "westeurope", "properties": {"source": {"script": "true"}}}
        async with session.put(f"{VM}/vm1/runCommands/c?api-version=2024-07-01", json=body) as answer:
            assert answer.status == 201
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        await asyncio.sleep(0.2)
        assert sum(lab.executions.values()) == 1


@pytest.mark.asyncio
async def test_a_clock_that_is_ahead() -> None:
    """With clock_skew the Date of every answer and the lab's own time are ahead by so much."""
    async with serve(spec(clock_skew=7200.0)) as lab, client(lab) as session, session.get("/lab/clock") as answer:
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        assert 7100 < told - wall_time() <= 7200
        assert abs((await answer.json())["now"] - told) < 2


@pytest.mark.asyncio
async def test_moving_things_from_outside() -> None:
    """The clock, machines and faults can be moved over HTTP; nonsense is refused."""
    async with serve(spec(speed=1.0)) as lab, client(lab) as session:
        id = f"{VM}/vm1"
        url = ""
        async with session.post(f"{id}/runCommand?api-version=2024-07-01", json=SHELL) as answer:
            url = answer.headers["Azure-AsyncOperation"]
        await session.post("/lab/clock", json={"advance": 600})
        assert (await finished(session, url))["status"] == "Succeeded"
        await session.post("/lab/machines", json={"id": id, "power": "deallocated"})
        async with session.post(f"{id}/runCommand?api-version=2024-07-01", json=SHELL) as answer:
            assert answer.status == 409
        await session.post("/lab/faults", json={"rules": [{"request": "read", "kind": 500}]})
        async with session.get(f"{id}?api-version=2024-07-01") as answer:
            assert answer.status == 500
        for path, body in (
            ("/lab/faults", {"rules": [{"request": "x"}]}),
            ("/lab/clock", {"advance": "soon"}),
            ("/lab/machines", {"id": id, "power": "flying"}),
        ):
            async with session.post(path, json=body) as answer:
                assert answer.status == 400


@pytest.mark.asyncio
async def test_tls(tmp_path: Path) -> None:
    """With TLS the certificate is good for its own authority, and for no other."""
    files = tls.make(tmp_path, wall_time())
    async with serve(spec(), tls=files) as lab:
        assert (lab.url[:18], lab.ca_file) == ("https://localhost:", str(files.ca_file))
        trusting = ssl.create_default_context(cafile=lab.ca_file)
        async with (
            client(lab, connector=aiohttp.TCPConnector(ssl=trusting)) as session,
            session.get("/subscriptions?api-version=2022-12-01") as answer,
        ):
            assert answer.status == 200
        async with client(lab) as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get("/")


@pytest.mark.asyncio
async def test_sign_in_documents_and_tokens() -> None:
    """Tokens are given for the asking, and discovery leads back to the lab."""
    async with serve(spec()) as lab, client(lab) as session:
        async with session.get(f"/{lab.tenant}/v2.0/.well-known/openid-configuration") as answer:
            where = (await answer.json())["token_endpoint"]
        assert where == f"{lab.url}/{lab.tenant}/oauth2/v2.0/token"
        form = {"grant_type": "client_credentials", "client_id": "me", "client_secret": "x"}
        async with session.post(where, data=form) as answer:
            token = (await answer.json())["access_token"]
        signed = {"Authorization": f"Bearer {token}"}
        async with session.get("/subscriptions?api-version=2022-12-01", headers=signed) as answer:
            assert answer.status == 200
        async with session.post(where, data={}) as answer:
            assert answer.status == 400


@pytest.mark.asyncio
async def test_tools_find_their_way_from_the_address_alone() -> None:
    """The metadata, instance and tenant documents name this lab for everything, and a person's token can be renewed."""
    async with serve(spec()) as lab, client(lab) as session:
        async with session.get("/metadata/endpoints?api-version=2022-09-01") as answer:
            cloud = await answer.json()
        assert {cloud["resourceManager"], cloud["authentication"]["loginEndpoint"], cloud["portal"]} == {lab.url}
        async with session.get("/common/discovery/instance?api-version=1.1") as answer:
            found = (await answer.json())["tenant_discovery_endpoint"]
        assert found == f"{lab.url}/{lab.tenant}/v2.0/.well-known/openid-configuration"
        form = {"grant_type": "authorization_code", "client_id": "me", "code": "x", "scope": "s offline_access"}
        async with session.post(f"/{lab.tenant}/oauth2/v2.0/token", data=form) as answer:
            assert (await answer.json())["refresh_token"] == "lab-me"
        other = "99999999-9999-4999-8999-999999999999"
        async with session.get(f"/{other}/v2.0/.well-known/openid-configuration") as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_tenant")
        async with session.get("/lab/nothing") as answer:
            assert answer.status == 404


@pytest.mark.asyncio
async def test_blobs_over_http() -> None:
    """A script put into a blob of the lab can be a command's source, and its output can be read from one."""
    vms = {"name": "vm1", "rules": [{"when": "from a blob", "stdout": "found"}]}
    async with serve(spec(vms, speed=500.0)) as lab, client(lab) as session:
        async with session.get("/lab/sas?container=s/c") as answer:
            given = await answer.json()
        assert given["container"] == f"{lab.url}/blobs/s/c"
        script, out = (f"{given['container']}/{name}?{given['sas']}" for name in ("script.sh", "out"))
        script, out = URL(script, encoded=True), URL(out, encoded=True)
        async with session.put(script, data=b"# from a blob", headers={"x-ms-blob-type": "BlockBlob"}) as answer:
            assert answer.status == 201
        properties = {"source": {"scriptUri": str(script)}, "outputBlobUri": str(out)}
        body = {"location": "westeurope", "properties": properties}
        async with session.put(f"{VM}/vm1/runCommands/c?api-version=2024-07-01", json=body) as answer:
            await finished(session, answer.headers["Azure-AsyncOperation"])
        async with session.get(out) as answer:
            assert (answer.status, await answer.read()) == (200, b"found")
            assert answer.headers["x-ms-blob-type"] == "AppendBlob"
        async with session.get(out, headers={"Range": "bytes=2-"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"und")
            assert answer.headers["Content-Range"] == "bytes 2-4/5"
        async with session.get(out, headers={"x-ms-range": "bytes=5-"}) as answer:
            assert (answer.status, answer.headers["x-ms-error-code"]) == (416, "InvalidRange")


@pytest.mark.asyncio
async def test_blobs_ask_who_reads() -> None:
    """A wrong signature is 403, none and no token 401, a token needs a version that knows it; one not made is 404."""
    async with serve(spec()) as lab, client(lab) as session:
        async with session.get("/lab/sas?container=s/c") as answer:
            sas = (await answer.json())["sas"]
        version = {"x-ms-version": "2021-08-06"}
        for query, headers, status, code_ in (
            ("sig=wrong", {}, 403, "AuthenticationFailed"),
            ("", {"Authorization": ""}, 401, "NoAuthenticationInformation"),
            ("", {"Authorization": "Bearer t", **version}, 404, "BlobNotFound"),
            ("", {"Authorization": "Bearer t"}, 403, "AuthenticationFailed"),
            (sas, {"Authorization": ""}, 404, "BlobNotFound"),
        ):
            url = URL(f"{lab.url}/blobs/s/c/none?{query}", encoded=True)
            async with session.get(url, headers=headers) as answer:
                assert (answer.status, answer.headers["x-ms-error-code"]) == (status, code_), query
        other = URL(f"{lab.url}/blobs/s/other/none?{sas}", encoded=True)
        async with session.get(other) as answer:
            assert answer.status == 403


@pytest.mark.asyncio
async def test_the_blocks_own_exception_leaves_as_it_is() -> None:
    """What is raised inside the block comes out unwrapped, and the port is free again."""
    url = ""
    with pytest.raises(KeyError, match="mine"):
        async with serve(spec()) as lab:
            url = lab.url
            raise KeyError("mine")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
