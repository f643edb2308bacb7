"""Append blobs, as far as commands need them: made, appended to, read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit

ROOT = "/blobs/"
LARGEST = 16 * 1024 * 1024  # bytes a lab keeps of one blob


class BlobKind(StrEnum):
    """Types of blobs, by the names of x-ms-blob-type."""

    APPEND = "AppendBlob"
    BLOCK = "BlockBlob"


@dataclass(slots=True)
class Blob:
    """One blob."""

    kind: BlobKind
    content: bytes = b""


@dataclass(slots=True)
class Blobs:
    """All blobs, by path. ``base`` is the lab's own URL; blobs elsewhere cannot be reached from the lab."""

    base: str = ""
    known: dict[str, Blob] = field(default_factory=dict)

    def path(self, uri: str) -> str | None:
        """Return the path of a blob of this lab, or None for a URI that leads elsewhere."""
        if not uri.startswith(f"{self.base}{ROOT}"):
            return None
        return unquote(urlsplit(uri).path)

    def create(self, uri: str) -> bool:
        """Make an empty append blob, or empty one that is there. False if it cannot be (handler source)."""
        path = self.path(uri)
        if path is None or (path in self.known and self.known[path].kind is not BlobKind.APPEND):
            return False
        self.known[path] = Blob(BlobKind.APPEND)
        return True

    def begin(self, properties: Mapping[str, object], stream: str) -> str:
        """Make the blob for a command's ``output`` or ``error``, if it has one; return why it cannot be, or ""."""
        uri, identity = properties.get(f"{stream}BlobUri"), properties.get(f"{stream}BlobManagedIdentity")
        if isinstance(identity, Mapping) and identity.get("objectId"):  # text: handler source
            return "Managed identity's ObjectId is not supported. Use ClientId instead"
        if isinstance(uri, str) and uri and not self.create(uri):
            return f"failed to create the append blob named by {stream}BlobUri"
        return ""

    def append(self, path: str, more: bytes) -> None:
        """Add to a blob, up to the largest size kept."""
        blob = self.known[path]
        blob.content += more[: LARGEST - len(blob.content)]

    def gallery(self, version: str) -> bytes | None:
        """Return the script of a gallery's version, by its resource id: the lab keeps it as a blob of that path."""
        wanted = f"{ROOT.rstrip('/')}{version}".casefold()
        return next((blob.content for path, blob in self.known.items() if path.casefold() == wanted), None)

    def fetch(self, uri: str) -> bytes | None:
        """Return a blob's content, or None."""
        path = self.path(uri)
        blob = self.known.get(path) if path is not None else None
        return blob.content if blob else None
