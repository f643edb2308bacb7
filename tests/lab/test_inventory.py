"""Looking around in the lab: subscriptions, groups, VMs, Resource Graph."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.desk import BASE, SUB, Desk, code, decoded, spec

VMS = f"/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachines"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
ALL = "resources | where type =~ 'microsoft.compute/virtualmachines'"


def ask(desk: Desk, query: str, **options: object) -> Any:
    """Ask Resource Graph."""
    body = {"query": query, "subscriptions": [SUB], "options": options}
    return decoded(desk.send("POST", f"{GRAPH}?api-version=2022-10-01", body))


def test_subscriptions() -> None:
    """Subscriptions are listed and read with id, name, tenant and state."""
    desk = Desk(spec())
    (listed,) = desk.get("/subscriptions")["value"]
    assert (listed["subscriptionId"], listed["displayName"], listed["state"]) == (SUB, "one", "Enabled")
    assert desk.get(f"/subscriptions/{SUB}") == listed
    (group,) = desk.get(f"/subscriptions/{SUB}/resourcegroups")["value"]
    assert group["id"] == f"/subscriptions/{SUB}/resourceGroups/rg-One"


def test_a_vm_as_the_service_renders_it() -> None:
    """A VM has size, image, disk, system, zone, tags and ids where the service puts them."""
    given = {
        "name": "vm1",
        "size": "Standard_D8s_v5",
        "image": "Debian:debian-12:12-gen2:latest",
        "zones": ["2"],
        "tags": {"env": "prod"},
    }
    vm = Desk(spec(given)).get(Desk(spec(given)).vm().id.upper().replace("/SUBSCRIPTIONS", "/subscriptions"))
    properties = vm["properties"]
    assert (vm["name"], vm["type"], vm["zones"]) == ("vm1", "Microsoft.Compute/virtualMachines", ["2"])
    assert (vm["tags"], vm["location"]) == ({"env": "prod"}, "westeurope")
    assert properties["hardwareProfile"] == {"vmSize": "Standard_D8s_v5"}
    assert properties["storageProfile"]["imageReference"]["publisher"] == "Debian"
    assert properties["storageProfile"]["osDisk"]["osType"] == "Linux"
    assert properties["provisioningState"] == "Succeeded"
    assert "instanceView" not in properties


@pytest.mark.parametrize(
    ("power", "agent", "shown"),
    [("running", "ready", "Ready"), ("running", "not_ready", "Not Ready"), ("deallocated", "ready", None)],
)
def test_instance_views(power: str, agent: str, shown: str | None) -> None:
    """Instance views tell power and agent, the same through all three doors; no agent without power."""
    desk = Desk(spec({"name": "vm1", "power": power, "agent": agent}))
    view = desk.get(f"{desk.vm().id}/instanceView")
    assert view == desk.get(f"{desk.vm().id}?$expand=instanceView")["properties"]["instanceView"]
    assert view == desk.get(f"{VMS}?statusOnly=true")["value"][0]["properties"]["instanceView"]
    assert view["statuses"][1]["code"] == f"PowerState/{power}"
    agents = view.get("vmAgent", {"statuses": [{"displayStatus": None}]})["statuses"]
    assert agents[0]["displayStatus"] == shown


@pytest.mark.parametrize("empty", [False, True])
def test_pages(empty: bool) -> None:
    """Following nextLink finds every VM once, also through empty pages; links carry %24skiptoken."""
    desk = Desk(spec({"name": "vm{n}", "count": 7}, page_size=3, empty_pages=empty))
    names, url, pages = [], VMS, 0
    while url:
        page = desk.get(url)
        names += [each["name"] for each in page["value"]]
        url, pages = page.get("nextLink", ""), pages + 1
        assert not url or (url.startswith(BASE) and "%24skiptoken=" in url)
    assert names == [f"vm{n}" for n in range(1, 8)]
    assert pages == (6 if empty else 3)


def test_lists_by_group_and_by_location() -> None:
    """A group's list holds its VMs; a location's list those of the location."""
    desk = Desk(spec({"name": "vm{n}", "count": 4, "location": ["westeurope", "northeurope"]}))
    group = f"/subscriptions/{SUB}/resourceGroups/RG-ONE/providers/Microsoft.Compute/virtualMachines"
    place = f"/subscriptions/{SUB}/providers/Microsoft.Compute/locations/northeurope/virtualMachines"
    assert len(desk.get(group)["value"]) == 4
    assert [each["name"] for each in desk.get(place)["value"]] == ["vm2", "vm4"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/subscriptions/nope", "400 InvalidSubscriptionId"),
        ("/subscriptions/22222222-2222-4222-8222-222222222222", "404 SubscriptionNotFound"),
        (f"/subscriptions/{SUB}/resourceGroups/nope", "404 ResourceGroupNotFound"),
        (
            f"/subscriptions/{SUB}/resourceGroups/rg-one/providers/Microsoft.Compute/virtualMachines/nope",
            "404 ResourceNotFound",
        ),
        (f"/subscriptions/{SUB}/providers/Microsoft.Nope/x", "404 InvalidResourceType"),
    ],
)
def test_what_is_not_there(path: str, expected: str) -> None:
    """What is not there is refused by the gateway with its code."""
    answer = Desk(spec()).send("GET", path)
    assert code(answer) == expected
    assert answer.headers["x-ms-failure-cause"] == "gateway"


def test_sign_in_is_needed() -> None:
    """Without an Authorization header the answer is 401 with a challenge; with any bearer token it is not."""
    desk = Desk(spec())
    refused = desk.send("GET", "/subscriptions", authorization="")
    assert code(refused) == "401 AuthenticationFailed"
    assert refused.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")
    assert desk.send("GET", "/subscriptions", authorization="Bearer anything").status == 200


def test_an_api_version_is_needed() -> None:
    """A request without api-version is refused as ARM does."""
    assert code(Desk(spec()).send("GET", "/subscriptions?api-version=")) == "400 MissingApiVersionParameter"


# -- Resource Graph ---------------------------------------------------------------------------------------


def test_rows_of_vms() -> None:
    """Rows have types and group names in lower case, and the power state under extended."""
    desk = Desk(spec({"name": "vm1", "power": "deallocated", "tags": {"env": "prod"}}))
    (row,) = ask(desk, ALL)["data"]
    assert (row["type"], row["resourceGroup"]) == ("microsoft.compute/virtualmachines", "rg-one")
    assert (row["subscriptionId"], row["tags"]) == (SUB, {"env": "prod"})
    power = row["properties"]["extended"]["instanceView"]["powerState"]
    assert (power["code"], power["displayStatus"]) == ("PowerState/deallocated", "VM deallocated")


def test_pages_of_rows() -> None:
    """Rows come in pages of $top with a $skipToken; resultTruncated is text; quota headers count pages."""
    desk = Desk(spec({"name": "vm{n:04}", "count": 2300}))
    seen, token, pages = [], "", 0
    while True:
        options = {"$top": 1000, **({"$skipToken": token} if token else {})}
        page = ask(desk, f"{ALL} | project id, name", **options)
        seen += [row["name"] for row in page["data"]]
        pages += 1
        assert (page["totalRecords"], page["count"]) == (2300, len(page["data"]))
        token = page.get("$skipToken", "")
        assert page["resultTruncated"] == ("true" if token else "false")
        if not token:
            break
    assert (pages, len(set(seen))) == (3, 2300)
    answer = desk.send("POST", GRAPH, {"query": ALL})
    assert answer.headers["x-ms-user-quota-remaining"] == "11"


def test_no_token_without_an_id() -> None:
    """Without id among the columns the rest is cut off and there is no token (documented)."""
    page = ask(Desk(spec({"name": "vm{n:04}", "count": 150})), f"{ALL} | project name")
    assert (page["count"], page["resultTruncated"], "$skipToken" in page) == (100, "true", False)


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("name == 'web1'", ["web1"]),
        ("name =~ 'WEB1'", ["web1"]),
        ("name != 'web1' and os == 'Linux'", ["db1"]),
        ("name in~ ('WEB1', 'nope') or name startswith 'WIN'", ["web1", "win1"]),
        ("not(name contains 'b')", ["win1"]),
        ("name !in ('web1', 'db1')", ["win1"]),
        ("tags.env =~ 'prod' and isnotempty(tags['app name'])", ["db1"]),
        ('tostring(tags) contains \'"env":"dev"\'', ["web1"]),
        ("properties.hardwareProfile.vmSize endswith '_V5'", ["db1", "web1", "win1"]),
        ("isnotnull(properties.osProfile.windowsConfiguration)", ["win1"]),
        ("(name matches regex '^w') and (os in ('Windows'))", ["win1"]),
        ("name has 'web1' // a remark", ["web1"]),
        ("NAME == 'web1' and true and not(false)", ["web1"]),
        ("tags.disks == 2 or tags['big'] == 'x'", []),
        ("isempty(properties.networkProfile.networkInterfaces[7].id) and name in~ ('web1')", ["web1"]),
    ],
)
def test_conditions(condition: str, names: list[str]) -> None:
    """Conditions let in what the language says."""
    desk = Desk(
        spec(
            {"name": "web1", "tags": {"env": "dev"}},
            {"name": "db1", "tags": {"env": "prod", "app name": "x"}},
            {"name": "win1", "os": "windows"},
        )
    )
    system = "extend os = tostring(properties.storageProfile.osDisk.osType)"
    found = ask(desk, f"{ALL}\n| {system}\n| where {condition}\n| project id, name | order by name asc")
    assert [row["name"] for row in found["data"]] == names


def test_counting_and_containers() -> None:
    """count, summarize and the containers of resources are there; a table can be asked for."""
    desk = Desk(spec({"name": "a{n}", "count": 3}, {"name": "b", "os": "windows"}))
    assert ask(desk, "resources | count")["data"] == [{"Count": 4}]
    by = "summarize n = count() by tostring(properties.storageProfile.osDisk.osType) | order by n desc"
    assert [row["n"] for row in ask(desk, f"resources | {by}")["data"]] == [3, 1]
    kinds = ask(desk, "resourcecontainers | project id, type, name")["data"]
    assert [(row["type"], row["name"]) for row in kinds] == [
        ("microsoft.resources/subscriptions", "one"),
        ("microsoft.resources/subscriptions/resourcegroups", "rg-One"),
    ]
    table = ask(desk, "resources | project name | take 1", resultFormat="table")["data"]
    assert table == {"columns": [{"name": "name", "type": "string"}], "rows": [["a1"]]}


def test_kinds_of_columns_and_distinct_rows() -> None:
    """A table names each column's type; equal rows are one where distinct says so; equal keys keep their order."""
    desk = Desk(spec({"name": "a{n}", "count": 3}, {"name": "b"}))
    values = "extend yes = true, many = 3, part = 0.5, text = tostring(true) | project yes, many, part, text, tags, id"
    table = ask(desk, f"resources | {values} | take 1", resultFormat="table")["data"]
    kinds = [column["type"] for column in table["columns"]]
    assert kinds == ["boolean", "integer", "number", "string", "object", "string"]
    assert table["rows"][0][:4] == [True, 3, 0.5, "true"]
    assert ask(desk, "resources | distinct location")["data"] == [{"location": "westeurope"}]
    ordered = ask(desk, "resources | project name, location, id | order by location asc, name desc")["data"]
    assert [row["name"] for row in ordered] == ["b", "a3", "a2", "a1"]
    assert ask(desk, "resources | summarize count()")["data"] == [{"count_": 4}]


def test_a_question_that_is_none_is_refused() -> None:
    """No query, no JSON, and a token of another query: 400, as the service says it."""
    desk = Desk(spec({"name": "vm{n:04}", "count": 150}))
    for body in (None, {"query": 7}, ["resources"]):
        assert code(desk.send("POST", GRAPH, body)) == "400 BadRequest"
    token = ask(desk, f"{ALL} | project id")["$skipToken"]
    for query, given in ((f"{ALL} | project id, name", token), (f"{ALL} | project id", "nonsense")):
        answer = desk.send("POST", GRAPH, {"query": query, "options": {"$skipToken": given}})
        assert decoded(answer)["error"]["details"][0]["code"] == "InvalidSkipToken"
    assert ask(desk, f"{ALL} | project id", **{"$skip": 100})["count"] == 50


@pytest.mark.parametrize("query", ["$expand=instanceView", "$skiptoken=x"])
def test_lists_refuse_what_they_do_not_know(query: str) -> None:
    """A view without a filter and a token that was never given are 400."""
    assert code(Desk(spec()).send("GET", f"{VMS}?{query}")) == "400 InvalidParameter"


def test_a_group_is_read() -> None:
    """One group by its name, whatever its case; its list of VMs is the group's alone."""
    desk = Desk(spec())
    assert desk.get(f"/subscriptions/{SUB}/resourceGroups/RG-ONE")["name"] == "rg-One"


@pytest.mark.parametrize(
    ("query", "token"),
    [
        ("resources | join kind=inner (x) on id", "join"),
        ("resources | where name like 'x'", "like"),
        ("resources | where", "<EOF>"),
        ("resources | project name | where strcat(name) == 'a'", "strcat"),
        ("securityresources | count", "securityresources"),
        ("resources | where name == ;", ";"),
        ("resources | summarize total = max(name)", "max"),
        ("resources | take many", "many"),
        ("resources | project 7", "7"),
        ("resources | where not name", "name"),
    ],
)
def test_unknown_constructs_are_refused(query: str, token: str) -> None:
    """What the lab does not understand is 400 in the recorded shape, and names the place."""
    desk = Desk(spec())
    answer = desk.send("POST", GRAPH, {"query": query})
    error = decoded(answer)["error"]
    assert code(answer) == "400 BadRequest"
    assert [each["code"] for each in error["details"]] == ["InvalidQuery", "ParserFailure"]
    assert error["details"][1]["token"] == token


def test_vms_of_an_availability_set() -> None:
    """The model names the set as Compute writes it, in capitals (recorded); the view alone tells the domains, in turn."""
    desk = Desk(spec({"name": "db{n}", "count": 4, "availability_set": "av-db", "update_domains": 3}))
    base = desk.vm("db4").id
    model = desk.get(base)["properties"]
    assert model["availabilitySet"]["id"].endswith("/providers/Microsoft.Compute/availabilitySets/AV-DB")
    views = [desk.get(f"{base[:-1]}{n}?$expand=instanceView")["properties"]["instanceView"] for n in range(1, 5)]
    assert [view["platformUpdateDomain"] for view in views] == [0, 1, 2, 0]
    assert [view["platformFaultDomain"] for view in views] == [0, 1, 0, 1]
    query = f"{ALL} | extend s = tostring(properties.availabilitySet.id) | project name, s | order by name asc"
    assert ask(desk, query)["data"][0]["s"] == model["availabilitySet"]["id"]
    assert "platformUpdateDomain" not in str(ask(desk, ALL)["data"])


def test_a_vm_has_a_zone_or_an_availability_set() -> None:
    """Both at once is no VM that Azure makes (documented)."""
    with pytest.raises(ValueError, match="has no zones"):
        spec({"name": "db", "availability_set": "av", "zones": ["1"]})
