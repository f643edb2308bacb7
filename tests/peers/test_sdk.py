"""azure-mgmt-compute, blocking and asynchronous, against the lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.peers.conftest import CLIENT, SUB, Peer

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def driven(sdk: Peer, way: str) -> Any:
    """Run the script with the SDK and decode what it prints."""
    script = Path(__file__).parent / "with_sdk.py"
    return json.loads(sdk.run(str(script), way, sdk.url, sdk.tenant, SUB, CLIENT))


def test_the_blocking_sdk(sdk: Peer) -> None:
    """Lists, both Run Command APIs, an instance, an error and Resource Graph go through the blocking SDK."""
    assert driven(sdk, "sync") == {
        "vms": ["web1", "web2", "web3"],
        "action": "Enable succeeded: \n[stdout]\non web2\n\n[stderr]\n",
        "managed": ["Succeeded", "Failed", 4],
        "left": [],
        "instance": "Enable succeeded: \n[stdout]\non pool_0\n\n[stderr]\n",
        "error": [404, "ResourceNotFound"],
        "rows": 5,
    }


def test_the_asynchronous_sdk(sdk: Peer) -> None:
    """Lists and both Run Command APIs go through the asynchronous SDK."""
    assert driven(sdk, "async") == {
        "vms": ["web1", "web2", "web3"],
        "action": "Enable succeeded: \n[stdout]\non web3\n\n[stderr]\n",
        "managed": ["Succeeded", "Failed", 4],
        "left": [],
    }
