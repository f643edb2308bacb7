"""Links of answers: made fit and followed on the service's own host, refused with the true reason elsewhere."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.reading import read_list
from fleet.azure.transport import Transport
from fleet.azure.wire import compute
from fleet.azure.wire.links import resolve
from fleet.playbook.model import Transport as Way
from fleet.run.answers import Accepted, Command, Finished, Lost
from fleet.targets.model import Os, Target
from tests.wire.replay import Script, arm, serving

BASE = "https://management.azure.com"
ASKED = "/subscriptions/s/providers/Microsoft.Compute/virtualMachines?api-version=2024-11-01"
GROUP = "/subscriptions/s/resourceGroups/g"
TARGET = Target(f"{GROUP}/providers/Microsoft.Compute/virtualMachines/v", "s", "one", "g", "v", "westus", Os.LINUX)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (f"{BASE}/a?c=%2f%3D", f"{BASE}/a?c=%2f%3D"),
        (f"{BASE}/a b?c=d e", f"{BASE}/a%20b?c=d%20e"),
        (f" {BASE}/a ", f"{BASE}/a"),
        (f"{BASE}/ü", f"{BASE}/%C3%BC"),
        ("/a?c=%2f", f"{BASE}/a?c=%2f"),
        ("?c=1", f"{BASE}/subscriptions/s/providers/Microsoft.Compute/virtualMachines?c=1"),
        ("next?c=1", f"{BASE}/subscriptions/s/providers/Microsoft.Compute/next?c=1"),
        ("../x", f"{BASE}/subscriptions/s/providers/x"),
        ("//management.azure.com/a", f"{BASE}/a"),
    ],
)
def test_a_link_of_the_service_is_made_fit_to_follow(given: str, url: str) -> None:
    """What is percent-encoded stays byte for byte; spaces are escaped; a relative link is relative to its request."""
    assert resolve(BASE, ASKED, given).url == url


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("https://evil.example/a", "leads to another host (evil.example)"),
        ("//evil.example/a", "leads to another host (evil.example)"),
        ("https://evil.example/a b", "leads to another host (evil.example)"),
        ("http://management.azure.com/a", "leads to the same host by http instead of https"),
        (f"{BASE}:444/a", "leads to another port (444) of the same host"),
        ("https://user@management.azure.com/a", "is not the address of a service"),
        ("ftp:a", "is not the address of a service"),
        ("https://[::1/x", "is not an address"),
        (f"{BASE}/a\nb", "has a character that no link may have"),
        (f"{BASE}\\@evil.example/a", "has a character that no link may have"),
        ("\ud800", "has a character that no link may have"),
    ],
)
def test_a_link_that_is_not_followed_says_why(given: str, problem: str) -> None:
    """The reason is true: another host is named only where the host is another one."""
    link = resolve(BASE, ASKED, given)
    assert (link.url, link.problem) == ("", problem)


@given(st.text(max_size=40) | st.builds("".join, st.lists(st.sampled_from(["https:", "/", "\\", "@", ":", "a", "?"]))))
def test_no_link_leads_elsewhere(given: str) -> None:
    """Whatever stands in a link, it is refused or stays on the service's own host, in characters of a URL."""
    link = resolve(BASE, ASKED, given)
    assert bool(link.url) != bool(link.problem)
    if link.url:
        assert urlsplit(link.url).netloc.removesuffix(":443").lower() == "management.azure.com"
        assert link.url.isascii() and " " not in link.url


@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["{base}/page two?c=%2f", "/page two?c=%2f", "//{host}/page two?c=%2f"])
async def test_a_list_goes_on_by_a_link_that_is_relative_or_has_a_space(form: str) -> None:
    """The rows of the next page are read, and the token goes to the service alone."""
    script = Script([])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        link = form.format(base=base, host=urlsplit(base).netloc)
        script.answers += [arm(200, {"value": [1], "nextLink": link}), arm(200, {"value": [2]})]
        found = await read_list(transport, compute.list_vms("s"), _never)
    assert (found.rows, found.unread) == ([1, 2], None)
    assert script.asked[1][1] == "/page%20two?c=%2f"


@pytest.mark.asyncio
async def test_an_action_is_followed_by_a_relative_location() -> None:
    """A relative Location is kept as an absolute link, so that a resume asks at the same place."""
    result = {"value": [{"code": "ProvisioningState/succeeded", "message": "hi"}]}
    script = Script([arm(202, None, Location="/op/1 2?t=%2f"), arm(200, result)])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        cloud = AzureCloud(transport)
        sent = (await cloud.submit(Command(TARGET, Way.ACTION, name="n", script="echo hi"))).answer
        assert isinstance(sent, Accepted)
        assert sent.operation.location_url == f"{base}/op/1%202?t=%2f"
        assert isinstance((await cloud.look(TARGET, sent.operation)).answer, Finished)


@pytest.mark.asyncio
async def test_an_operation_elsewhere_is_lost_with_the_true_reason() -> None:
    """Same host and another port is not "another host"."""
    script = Script([arm(202, None, Location="http://127.0.0.1:1/op")])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        sent = (await AzureCloud(transport).submit(Command(TARGET, Way.ACTION, name="n", script="x"))).answer
    assert isinstance(sent, Lost)
    assert "another port (1) of the same host" in sent.detail


async def _never(seconds: float) -> None:
    raise AssertionError(f"a good answer is not waited for: {seconds} s")
