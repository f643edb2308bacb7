"""Api-versions that are set for a cloud, at the command line."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.system.between import Between, Passing, between
from tests.system.cli import Here, LabUp, Machine
from tests.system.test_earned_green import play, rows

NAMESPACES = {"microsoft.compute": "2024-03-01", "microsoft.resourcegraph": "2021-03-01"}
SET = "azure: {api_versions: {compute: 2024-03-01, resource_graph: 2021-03-01, subscriptions: 2020-01-01}}\n"
OLD = "azure: {api_versions: {compute: 2020-06-01}}\n"


def asked(door: Between) -> Iterator[tuple[str, str]]:
    """Yield the address and the api-version of every request."""
    for passing in door.passed:
        parts = urlsplit(passing.path)
        yield parts.path.lower(), parse_qs(parts.query).get("api-version", [""])[0]


def test_a_whole_run_is_asked_with_what_is_set(here: Here, machine: Machine, lab: LabUp) -> None:
    """Lists, submissions, looks and removals: each request of ours carries the version of its key."""
    (machine.cwd / "config.yaml").write_text(SET)
    with between(lab.url) as door:
        done = here("run", play(machine.cwd, "echo hi"), door.flag, "-y", "-o", "json", "-l", "web01")
    assert (done.code, rows(done.report)) == (0, [("succeeded", "completed")]), done.err
    seen = set()
    for path, version in asked(door):
        if path.endswith("/subscriptions"):
            assert version == "2020-01-01"
        for namespace, wanted in NAMESPACES.items():
            if f"/providers/{namespace}/" in path and "/operations/" not in path:
                assert version == wanted, path
                seen.add(namespace)
    assert seen == set(NAMESPACES)


def test_a_cloud_without_managed_commands_gets_actions(here: Here, machine: Machine, lab: LabUp) -> None:
    """The transport auto takes the action, and the plan says so; managed is refused before anything is sent."""
    (machine.cwd / "config.yaml").write_text(OLD)
    file = play(machine.cwd, "echo hi")
    plan = here("plan", file, lab.flag, "-l", "web01")
    assert plan.code == 0, plan.err
    assert (
        "scripts travel by the action: Compute's api-version 2020-06-01 has no managed commands" in plan.out + plan.err
    )
    managed = here("run", file, lab.flag, "-y", "-l", "web01", "--transport", "managed")
    assert managed.code == 2
    assert "[no_managed_commands]" in managed.err and "azure.api_versions.compute" in managed.err
    file.write_text(file.read_text().replace("{id: work,", "{id: work, transport: managed,"))
    step = here("run", file, lab.flag, "-y", "-l", "web01")
    assert step.code == 2 and "step 'work' asks for transport: managed" in step.err


@pytest.mark.parametrize("code", ["NoRegisteredProviderFound", "InvalidResourceType", "InvalidApiVersionParameter"])
def test_a_cloud_that_lacks_a_version_says_which_it_has(here: Here, machine: Machine, lab: LabUp, code: str) -> None:
    """The error names the versions that the service lists, and the key to set; it is not a missing right."""

    def old(passing: Passing) -> None:
        if "/providers/" in passing.path:
            message = "The api-version is not known. The supported api-versions are '2019-07-01, 2020-06-01'."
            passing.status, passing.body = 400, {"error": {"code": code, "message": message}}

    with between(lab.url, old) as door:
        done = here("targets", "all", door.flag)
    assert done.code == 7
    assert "set azure.api_versions.compute in the config to an api-version that this cloud has: 2020-06-01" in done.err
    assert "no_rights" not in done.err and "Reader" not in done.err
