"""The managed API of the lab, as the real service answers it."""

from __future__ import annotations

import json
from itertools import pairwise
from urllib.parse import parse_qsl

import pytest

from fleet.lab.wire import Answer, Request
from fleet.lab.world.blobs import Blob, BlobKind
from tests.lab.desk import BASE, Desk, code, decoded, spec

FAILS = {"name": "vm1", "rules": [{"stdout": "out\n", "stderr": "err\n", "exit": 7}]}
SLOW = {"name": "vm1", "rules": [{"duration": 600}]}


def test_put_then_read() -> None:
    """PUT is 201 Creating without Location; later the resource reads Succeeded and its view tells the end."""
    desk = Desk(spec())
    made = desk.put()
    assert (made.status, decoded(made)["properties"]["provisioningState"]) == (201, "Creating")
    assert decoded(made)["properties"] == {
        "source": {"script": "true"},
        "timeoutInSeconds": 0,
        "provisioningState": "Creating",
        "asyncExecution": False,
    }
    assert "Location" not in made.headers and "Azure-AsyncOperation" in made.headers
    desk.wait(120)
    state = desk.get(made.headers["Azure-AsyncOperation"])
    assert list(state) == ["startTime", "endTime", "status", "name"]
    properties = desk.command()
    view = properties["instanceView"]
    assert (state["status"], properties["provisioningState"]) == ("Succeeded", "Succeeded")
    assert list(view) == [
        "exitCode", "executionState", "executionMessage", "output", "error", "startTime", "endTime",
    ]  # fmt: skip
    assert (view["executionState"], view["executionMessage"]) == ("Succeeded", "Execution completed")
    assert view["endTime"].endswith("+00:00") and "." not in view["endTime"]


def test_half_a_surrogate_pair_comes_back_as_it_went() -> None:
    """JSON can carry what UTF-8 cannot; the lab answers with it all the same, indented as ever."""
    made = Desk(spec()).put(script="echo \ud800")
    text = made.body.decode("utf-8", "surrogatepass")
    assert made.status == 201 and json.loads(text)["properties"]["source"] == {"script": "echo \ud800"}
    assert '{\r\n  "' in text


def test_a_failed_script_is_not_a_failed_deployment() -> None:
    """Operation and resource read Succeeded though the script failed; only the view tells."""
    desk = Desk(spec(FAILS))
    url = desk.put().headers["Azure-AsyncOperation"]
    desk.wait(120)
    properties = desk.command()
    view = properties["instanceView"]
    assert (desk.get(url)["status"], properties["provisioningState"]) == ("Succeeded", "Succeeded")
    assert (view["executionState"], view["exitCode"]) == ("Failed", 7)
    assert (view["output"], view["error"]) == ("out\n", "err\n")
    text = "Execution failed: failed to execute command: command terminated with exit status=7"
    assert view["executionMessage"] == text


def test_a_failed_script_that_is_a_failed_deployment() -> None:
    """With treatFailureAsDeploymentFailure both operation and resource fail."""
    desk = Desk(spec(FAILS))
    url = desk.put(treatFailureAsDeploymentFailure=True).headers["Azure-AsyncOperation"]
    desk.wait(120)
    assert (desk.get(url)["status"], desk.command()["provisioningState"]) == ("Failed", "Failed")


def test_the_same_content_again_does_not_run() -> None:
    """A PUT that changes nothing is 200 and does not run again; one that changes something does."""
    desk = Desk(spec())
    desk.put()
    desk.wait(120)
    again = desk.put()
    assert (again.status, decoded(again)["properties"]["provisioningState"]) == (200, "Updating")
    desk.wait(120)
    assert desk.command()["provisioningState"] == "Succeeded"
    assert desk.plane.life.counts[desk.vm().id] == 1
    desk.put(script="false")
    desk.wait(120)
    assert desk.command()["provisioningState"] == "Succeeded"
    assert desk.plane.life.counts[desk.vm().id] == 2


def test_patch_changes_some_and_runs() -> None:
    """PATCH is 200 Updating, keeps what it does not name, and runs the changed command."""
    desk = Desk(spec())
    desk.put(timeoutInSeconds=30)
    desk.wait(120)
    path = f"{desk.vm().id}/runCommands/c1"
    patched = desk.send("PATCH", path, {"properties": {"source": {"script": "two"}}})
    assert patched.status == 200
    assert decoded(patched)["properties"]["timeoutInSeconds"] == 30
    desk.wait(120)
    assert desk.plane.life.counts[desk.vm().id] == 2
    assert code(desk.send("PATCH", f"{path}x", {"properties": {}})) == "404 ResourceNotFound"


def test_delete_takes_it_away() -> None:
    """DELETE is 202 with both URLs, then 404; deleting what is not there is 204 without them."""
    desk = Desk(spec())
    desk.put()
    desk.wait(120)
    path = f"{desk.vm().id}/runCommands/c1"
    gone = desk.send("DELETE", path)
    assert (gone.status, gone.body) == (202, b"")
    assert {"Azure-AsyncOperation", "Location"} <= set(gone.headers)
    assert desk.command()["provisioningState"] == "Deleting"
    desk.wait(60)
    assert desk.get(gone.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    assert code(desk.send("GET", path)) == "404 ResourceNotFound"
    absent = desk.send("DELETE", path)
    assert (absent.status, "Azure-AsyncOperation" in absent.headers) == (204, False)
    assert desk.get(f"{desk.vm().id}/runCommands") == {"value": []}


def test_delete_ends_a_running_script() -> None:
    """Deleting a running command ends it: its own operation is cancelled and it never reads as done."""
    desk = Desk(spec(SLOW))
    url = desk.put().headers["Azure-AsyncOperation"]
    desk.wait(60)
    assert desk.command()["instanceView"]["executionState"] == "Running"
    desk.send("DELETE", f"{desk.vm().id}/runCommands/c1")
    assert desk.get(url)["status"] == "Canceled"
    desk.wait(1000)
    assert desk.get(f"{desk.vm().id}/runCommands") == {"value": []}


def test_changed_content_ends_the_earlier_run() -> None:
    """A PUT with other content while the script runs starts anew, and only the new end is told."""
    desk = Desk(spec({"name": "vm1", "rules": [{"when": "slow", "duration": 600}, {"stdout": "quick"}]}))
    desk.put(script="slow")
    desk.wait(60)
    desk.put(script="other")
    desk.wait(60)
    assert desk.command()["instanceView"]["output"] == "quick"
    desk.wait(1000)
    assert desk.command()["instanceView"]["output"] == "quick"


def test_time_out() -> None:
    """A script over its limit is killed: Failed with exit code -1, never TimedOut (handler source)."""
    desk = Desk(spec(SLOW))
    desk.put(timeoutInSeconds=30)
    desk.wait(120)
    view = desk.command()["instanceView"]
    assert (view["executionState"], view["exitCode"]) == ("Failed", -1)
    assert view["executionMessage"].endswith("exit status=-1")


def test_async_execution() -> None:
    """With asyncExecution the operation ends when the script has started, and the view goes on."""
    desk = Desk(spec(SLOW))
    url = desk.put(asyncExecution=True).headers["Azure-AsyncOperation"]
    desk.wait(60)
    assert desk.get(url)["status"] == "Succeeded"
    assert desk.command()["provisioningState"] == "Succeeded"
    assert desk.command()["instanceView"]["executionState"] == "Running"
    assert desk.command()["instanceView"]["endTime"] == ""
    desk.wait(600)
    assert desk.command()["instanceView"]["executionState"] == "Succeeded"


def test_secrets_never_come_back() -> None:
    """Protected parameters and the run-as password are in no answer; public parameters are."""
    desk = Desk(spec())
    made = desk.put(
        parameters=[{"name": "A", "value": "1"}],
        protectedParameters=[{"name": "B", "value": "hush"}],
        runAsUser="root",
        runAsPassword="hush",
    )
    desk.wait(120)
    read = desk.send("GET", f"{desk.vm().id}/runCommands/c1?$expand=instanceView")
    assert b"hush" not in made.body + read.body
    assert decoded(read)["properties"]["parameters"] == [{"name": "A", "value": "1"}]


def test_twenty_five_at_most() -> None:
    """The 26th command of a VM is refused with the reported text; existing ones may still be changed."""
    desk = Desk(spec())
    for n in range(25):
        assert desk.put(f"c{n}").status == 201
    refused = desk.put("c25")
    assert refused.status == 409
    assert "(max=25, current=25)" in decoded(refused)["error"]["message"]
    assert desk.put("c3", script="other").status == 200


@pytest.mark.parametrize("power", ["stopped", "deallocated"])
def test_a_vm_that_is_not_running(power: str) -> None:
    """Writing a command of a VM that is not running is refused with the extension's text."""
    refused = Desk(spec({"name": "vm1", "power": power})).put()
    assert code(refused) == "409 OperationNotAllowed"
    text = "Cannot modify extensions in the VM when the VM is not running."
    assert decoded(refused)["error"]["message"] == text


@pytest.mark.parametrize(
    ("properties", "exit_code"),
    [
        ({"source": {}}, -202),
        ({"source": {"scriptUri": "https://elsewhere.example/x.sh"}}, -100),
        ({"outputBlobUri": "https://elsewhere.example/out"}, -101),
        ({"outputBlobUri": f"{BASE}/blobs/store/c/out"}, -101),
        ({"errorBlobUri": f"{BASE}/blobs/store/c/err?sv=2021-08-06&sig=wrong"}, -101),
        ({"runAsUser": "stranger"}, -102),
    ],
)
def test_the_handler_speaks_for_itself(properties: dict[str, object], exit_code: int) -> None:
    """What the handler cannot do it reports by its own negative exit codes, and no script runs."""
    desk = Desk(spec())
    desk.put(**properties)
    desk.wait(120)
    view = desk.command()["instanceView"]
    assert (view["executionState"], view["exitCode"]) == ("Failed", exit_code)
    assert desk.plane.life.counts[desk.vm().id] == 0


def test_outputs_go_to_blobs() -> None:
    """Output and error blobs of the lab are made and filled, and earlier content is overwritten."""
    desk = Desk(spec(FAILS))
    sas = desk.plane.blobs.sas("store/c")
    out, err = f"{BASE}/blobs/store/c/out?{sas}", f"{BASE}/blobs/store/c/err?{sas}"
    for script in ("one", "two"):
        desk.put(script=script, outputBlobUri=out, errorBlobUri=err)
        desk.wait(120)
        desk.command()
    assert (desk.plane.blobs.fetch(out), desk.plane.blobs.fetch(err)) == (b"out\n", b"err\n")


def test_blobs_grow_while_a_script_runs() -> None:
    """A blob is there and empty when the script starts, and has every byte once, in steps of 15 s, until the end."""
    speaks = {"when": "speaks", "stdout": "".join(f"line {n}\\n" for n in range(10)).replace("\\n", "\n")}
    desk = Desk(spec({"name": "vm1", "rules": [{**speaks, "duration": [100, 100]}]}))
    out = f"{BASE}/blobs/store/c/out?{desk.plane.blobs.sas('store/c')}"
    desk.put(script="speaks", outputBlobUri=out)
    seen = []
    for _ in range(40):
        desk.wait(5)
        if (content := desk.plane.blobs.fetch(out)) is not None and content not in seen:
            seen.append(content)
    assert (seen[0], seen[-1].decode()) == (b"", speaks["stdout"])
    assert len(seen) >= 6
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


def test_an_identity_needs_no_signature() -> None:
    """A blob that a managed identity writes is named by its bare address."""
    desk = Desk(spec(FAILS))
    out = f"{BASE}/blobs/store/c/out"
    desk.put(script="x", outputBlobUri=out, outputBlobManagedIdentity={})
    desk.wait(120)
    assert desk.plane.blobs.known["/blobs/store/c/out"].content == b"out\n"


def test_the_resource_may_lag_behind_its_operation() -> None:
    """With lag the operation has succeeded while the resource still reads Creating (recorded)."""
    desk = Desk(spec(lag=30.0))
    url = desk.put().headers["Azure-AsyncOperation"]
    while desk.get(url)["status"] == "InProgress":
        desk.wait(1)
    assert desk.command()["provisioningState"] == "Creating"
    desk.wait(30)
    assert desk.command()["provisioningState"] == "Succeeded"


def test_managed_runs_beside_an_action_and_in_parallel() -> None:
    """An action and several managed commands run on one VM at once."""
    desk = Desk(spec(SLOW))
    assert [desk.run().status, desk.put("a").status, desk.put("b").status] == [202, 201, 201]
    desk.wait(60)
    assert {desk.command(name)["instanceView"]["executionState"] for name in "ab"} == {"Running"}


def test_put_needs_a_location() -> None:
    """PUT without location is refused as ARM does."""
    desk = Desk(spec())
    assert code(desk.send("PUT", f"{desk.vm().id}/runCommands/c", {"properties": {}})) == "400 LocationRequired"


def test_a_put_sets_tags_whole_and_a_patch_leaves_unnamed_ones() -> None:
    """A PATCH without tags keeps them and runs nothing; a PUT without tags drops them."""
    desk = Desk(spec())
    url = f"{desk.vm().id}/runCommands/c1"
    body = {"location": "westeurope", "tags": {"a": "b"}, "properties": {"source": {"script": "true"}}}
    desk.send("PUT", url, body)
    desk.wait(120)
    desk.send("PATCH", url, {"properties": {"timeoutInSeconds": 5}})
    assert desk.get(url)["tags"] == {"a": "b"}
    desk.put()
    assert "tags" not in desk.get(url)


def test_newer_sources_need_their_api_version() -> None:
    """Gallery scripts and PowerShell 7 are unknown before 2025-04-01; the lab keeps a gallery's script as a blob."""
    desk = Desk(spec())
    version = f"{desk.vm().group.id}/providers/Microsoft.Compute/galleries/g/scripts/s/versions/1.0.0"
    desk.plane.blobs.known[f"/blobs{version}"] = Blob(BlobKind.BLOCK, b"echo hi")
    url = f"{desk.vm().id}/runCommands/c1"
    body = {"location": "westeurope", "properties": {"source": {"galleryScriptReferenceId": version}}}
    assert desk.send("PUT", url, body).status == 400
    assert desk.send("PUT", f"{url}?api-version=2025-04-01", body).status == 201
    desk.wait(120)
    assert desk.command()["instanceView"]["exitCode"] == 0
    wrong = {"location": "westeurope", "properties": {"source": {"script": "x", "scriptShell": "zsh"}}}
    assert desk.send("PUT", f"{url}?api-version=2025-04-01", wrong).status == 400


@pytest.mark.parametrize(("os", "code"), [("linux", -101), ("windows", 0)])
@pytest.mark.parametrize("stream", ["output", "error"])
def test_only_linux_refuses_an_identity_named_by_its_object_id(os: str, code: int, stream: str) -> None:
    """The Linux handler refuses it with -101; on Windows the blob is written."""
    desk = Desk(spec({"name": "vm1", "os": os}))
    desk.put(**{f"{stream}BlobUri": f"{BASE}/blobs/a/c/o", f"{stream}BlobManagedIdentity": {"objectId": "x"}})
    desk.wait(120)
    assert desk.command()["instanceView"]["exitCode"] == code
    assert ("/blobs/a/c/o" in desk.plane.blobs.known) == (code == 0)


def test_blobs_are_written_as_the_service_lets() -> None:
    """Appending needs an append blob that is there; a kind must be named; other verbs are refused; all with its codes."""
    blobs = Desk(spec()).plane.blobs
    sas = dict(parse_qsl(blobs.sas("store/c")))

    def send(method: str, name: str, body: bytes = b"", *, append: bool = False, kind: str = "") -> Answer:
        query = {**sas, "comp": "appendblock"} if append else sas
        headers = {"x-ms-blob-type": kind} if kind else {}
        return blobs.answer(Request(method, f"/blobs/store/c/{name}", "", query, headers, body))

    def told(answer: Answer) -> tuple[int, str]:
        return answer.status, answer.headers.get("x-ms-error-code", "")

    assert told(send("PUT", "a", b"x", append=True)) == (404, "BlobNotFound")
    assert told(send("PUT", "a")) == (400, "MissingRequiredHeader")
    assert told(send("PUT", "a", kind="AppendBlob")) == (201, "")
    assert told(send("PUT", "b", b"whole", kind="BlockBlob")) == (201, "")
    offsets = [send("PUT", "a", part, append=True).headers["x-ms-blob-append-offset"] for part in (b"one", b"two")]
    assert (offsets, send("GET", "a").body) == (["0", "3"], b"onetwo")
    assert told(send("PUT", "b", b"x", append=True)) == (409, "InvalidBlobType")
    assert told(send("POST", "b")) == (405, "UnsupportedHttpVerb")
    assert told(send("GET", "none")) == (404, "BlobNotFound")
    assert send("GET", "b").body == b"whole"


def test_a_vm_without_extension_operations() -> None:
    """Both kinds of command are refused with the text that was seen, and the model says why; a running agent is no help."""
    desk = Desk(spec({"name": "vm1", "extensions": False}))
    for answer in (desk.put(), desk.run()):
        assert code(answer) == "409 OperationNotAllowed"
        assert "when extension operations are disallowed" in decoded(answer)["error"]["message"]
    assert desk.get(desk.vm().id)["properties"]["osProfile"]["allowExtensionOperations"] is False
