"""Chance that a lab's seed decides: equal seeds and labels give equal ids and shares. Pure."""

from __future__ import annotations

import hashlib
import random
import uuid

TENANT_LABEL = "tenant"


def named_uuid(seed: int, label: str) -> str:
    """Return the UUID that belongs to a label under a seed."""
    digest = hashlib.blake2b(f"{seed}/{label}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def chosen(seed: int, label: str, count: int, share: float) -> frozenset[int]:
    """Choose which of ``count`` members belong to a share: exactly ``round(share * count)`` of them."""
    if share >= 1:
        return frozenset(range(count))
    rng = random.Random(f"{seed}/{label}/{count}")
    return frozenset(rng.sample(range(count), round(share * count)))
