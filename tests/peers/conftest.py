"""Microsoft's own clients, each in a virtual environment of its own, and a lab over TLS for them to talk to.

They are installed and run only when ``FLEET_PEERS=1``: azure-cli alone takes minutes. ``FLEET_PEERS_DIR`` keeps
the environments from one run to the next.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest

SUB = "11111111-1111-4111-8111-111111111111"
CLIENT = "00000000-0000-4000-8000-000000000001"
LAB = Path(__file__).parent / "lab.yaml"
PACKAGES = {
    "az": ["azure-cli"],
    "sdk": ["azure-mgmt-compute", "azure-mgmt-resourcegraph", "azure-identity", "aiohttp"],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests out unless they are asked for."""
    if os.environ.get("FLEET_PEERS") == "1":
        return
    skip = pytest.mark.skip(reason="installs azure-cli and the SDK; set FLEET_PEERS=1 to run it")
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(skip)


@dataclass(frozen=True, slots=True)
class Peer:
    """An interpreter that has a client, and the environment to run it in."""

    python: Path
    environment: dict[str, str]
    url: str
    tenant: str

    def run(self, *arguments: str) -> str:
        """Run the interpreter and return what it prints; a failure shows what it said."""
        done = subprocess.run(
            [str(self.python), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, f"{arguments[:8]} ended with {done.returncode}: {done.stderr[-2000:]}"
        return done.stdout

    def az(self, *arguments: str) -> Any:
        """Run an az command and return its JSON, or None if it prints nothing."""
        said = self.run("-m", "azure.cli", *arguments, "--output", "json", "--only-show-errors")
        return json.loads(said) if said.strip() else None


@dataclass(frozen=True, slots=True)
class Served:
    """A lab that is up: its URL, the authority to trust, its tenant."""

    url: str
    ca_file: str
    tenant: str


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """Serve the lab over TLS with a private authority, by the command that users type."""
    command = [sys.executable, "-m", "fleet", "lab", "up", str(LAB), "--tls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        ca_file = next(found[1] for line in process.stderr if (found := re.search(r"authority: (\S+)", line)))
        with urllib.request.urlopen(f"{url}/", context=create_default_context(cafile=ca_file)) as answer:
            tenant = json.load(answer)["tenant"]
        try:
            yield Served(url, ca_file, tenant)
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the clients' environments."""
    kept = os.environ.get("FLEET_PEERS_DIR")
    return Path(kept) if kept else tmp_path_factory.mktemp("peers")


def _installed(place: Path, name: str) -> Path:
    """Make an environment with a client, or use the one that is there. A client that cannot be had is a failure."""
    python = place / name / "bin" / "python"
    done = place / name / "installed"
    if not done.exists():
        venv.create(place / name, with_pip=True)
        quietly = ("--quiet", "--disable-pip-version-check")
        subprocess.run([str(python), "-m", "pip", "install", *quietly, *PACKAGES[name]], check=True)
        done.touch()
    return python


def _environment(served: Served, home: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "AZURE_CONFIG_DIR": f"{home}/.azure",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",  # the lab's authority is none of Microsoft's
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "REQUESTS_CA_BUNDLE": served.ca_file,
        "SSL_CERT_FILE": served.ca_file,
        "NO_PROXY": "localhost",
    }


@pytest.fixture(scope="session")
def az(served: Served, places: Path) -> Iterator[Peer]:
    """Return az, signed in to the lab as a service principal of a cloud registered by its ARM endpoint alone."""
    python = _installed(places, "az")
    with tempfile.TemporaryDirectory() as home:
        peer = Peer(python, _environment(served, home), served.url, served.tenant)
        peer.az("cloud", "register", "--name", "lab", "--endpoint-resource-manager", served.url)
        peer.az("cloud", "set", "--name", "lab")
        peer.az("login", "--service-principal", "-u", CLIENT, "-p", "secret", "--tenant", served.tenant)
        yield peer


@pytest.fixture(scope="session")
def sdk(served: Served, places: Path) -> Iterator[Peer]:
    """Return an interpreter with the SDK."""
    python = _installed(places, "sdk")
    with tempfile.TemporaryDirectory() as home:
        yield Peer(python, _environment(served, home), served.url, served.tenant)
