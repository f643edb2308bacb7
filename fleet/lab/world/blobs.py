"""Append blobs, as far as commands need them: made, appended to, read, and who may do so. Pure.

Paths are ``/blobs/ACCOUNT/CONTAINER/NAME``. Nothing is public: a request is signed for its container (SAS), or carries a
bearer token; only reading a script by an address without any signature is let pass, as from a public container.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fleet.lab.wire import Answer, Request
from fleet.lab.world.machine_spec import System

ROOT = "/blobs/"
LARGEST = 16 * 1024 * 1024  # bytes a lab keeps of one blob
VERSION = "2021-08-06"
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
_CONTAINER = re.compile(r"/blobs/[^/]+/[^/]+")


class BlobKind(StrEnum):
    """Types of blobs, by the names of x-ms-blob-type."""

    APPEND = "AppendBlob"
    BLOCK = "BlockBlob"


@dataclass(slots=True)
class Blob:
    """One blob. ``changes`` counts what was done to it; its ETag says so."""

    kind: BlobKind
    content: bytes = b""
    changes: int = 0


@dataclass(slots=True)
class Blobs:
    """All blobs, by path. ``base`` is the lab's own URL; blobs elsewhere cannot be reached from the lab."""

    base: str = ""
    seed: int = 0
    known: dict[str, Blob] = field(default_factory=dict)

    def sas(self, container: str) -> str:
        """Return the query that signs every request to a container, ``ACCOUNT/CONTAINER``."""
        key = f"lab/{self.seed}".encode()
        digest = hmac.new(key, f"{ROOT}{container}".encode(), hashlib.sha256).digest()
        return f"sv={VERSION}&sr=c&sp=racwl&sig={quote(base64.b64encode(digest).decode('ascii'), safe='')}"

    def path(self, uri: str) -> str | None:
        """Return the path of a blob of this lab, or None for a URI that leads elsewhere."""
        if not uri.startswith(f"{self.base}{ROOT}"):
            return None
        return unquote(urlsplit(uri).path)

    def create(self, uri: str, *, identity: bool = False) -> bool:
        """Make an empty append blob, or empty one that is there. False if it cannot be (handler source).

        With ``identity`` a managed identity writes, and the address needs no signature.
        """
        path = self.path(uri)
        if path is None or (path in self.known and self.known[path].kind is not BlobKind.APPEND):
            return False
        if not identity and self._wrong(path, _signature(uri)):
            return False
        self.known[path] = Blob(BlobKind.APPEND)
        return True

    def begin(self, properties: Mapping[str, object], stream: str, system: System) -> str:
        """Make the blob for a command's ``output`` or ``error``, if it has one; return why it cannot be, or ""."""
        uri, identity = properties.get(f"{stream}BlobUri"), properties.get(f"{stream}BlobManagedIdentity")
        named = isinstance(identity, Mapping) and identity.get("objectId")
        if named and system is System.LINUX:  # the Linux handler's refusal, and its text (handler source)
            return "Managed identity's ObjectId is not supported. Use ClientId instead"
        if isinstance(uri, str) and uri and not self.create(uri, identity=isinstance(identity, Mapping)):
            return f"failed to create the append blob named by {stream}BlobUri"
        return ""

    def append(self, path: str, more: bytes) -> None:
        """Add to a blob, up to the largest size kept."""
        blob = self.known[path]
        blob.content += more[: LARGEST - len(blob.content)]
        blob.changes += 1

    def pour(self, properties: Mapping[str, object], poured: Counter[str], stdout: bytes, stderr: bytes) -> None:
        """Append what is new of a command's streams, as the handler does every 15 s and at the end (handler source).

        ``poured`` counts how much of each its blob has.
        """
        for stream, content in (("output", stdout), ("error", stderr)):
            uri = properties.get(f"{stream}BlobUri")
            path = self.path(uri) if isinstance(uri, str) else None
            more = content[poured[stream] :]
            if path in self.known and path is not None and more:
                self.append(path, more)
                poured[stream] += len(more)

    def gallery(self, version: str) -> bytes | None:
        """Return the script of a gallery's version, by its resource id: the lab keeps it as a blob of that path."""
        wanted = f"{ROOT.rstrip('/')}{version}".casefold()
        return next((blob.content for path, blob in self.known.items() if path.casefold() == wanted), None)

    def fetch(self, uri: str) -> bytes | None:
        """Return the content of a blob that is public or whose address is signed, or None."""
        path = self.path(uri)
        blob = self.known.get(path) if path is not None else None
        signature = _signature(uri)
        if blob is None or path is None or (signature is not None and self._wrong(path, signature)):
            return None
        return blob.content

    def _wrong(self, path: str, signature: str | None) -> bool:
        container = _CONTAINER.match(path)
        if container is None or signature is None:
            return True
        right = _signature("?" + self.sas(container[0].removeprefix(ROOT)))
        return not hmac.compare_digest(signature.encode(), (right or "").encode())

    # -- over HTTP -----------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Answer a request about one blob (statuses and codes documented: Blob service error codes)."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        blob = self.known.get(request.path)
        if request.method == "PUT":
            return self._put(request, blob)
        if request.method not in ("GET", "HEAD"):
            return _error(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
        if blob is None:
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        return _read(request, blob)

    def _refused(self, request: Request) -> Answer | None:
        signature = request.query.get("sig")
        bearer = request.headers.get("authorization", "")
        if signature is not None:
            if not self._wrong(request.path, signature):
                return None
            text = "Server failed to authenticate the request. Signature did not match."
            return _error(403, "AuthenticationFailed", text)
        if bearer.lower().startswith("bearer ") and bearer[len("bearer ") :].strip():
            # A token is only understood by versions from 2017-11-09 on, so one must be named (documented).
            if request.headers.get("x-ms-version", "") >= "2017-11-09":
                return None
            return _error(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        text = (
            "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."
        )
        challenge = (
            "Bearer authorization_uri=https://login.microsoftonline.com/common resource_id=https://storage.azure.com"
        )
        return _error(401, "NoAuthenticationInformation", text, {"WWW-Authenticate": challenge})

    def _put(self, request: Request, blob: Blob | None) -> Answer:
        if request.query.get("comp") == "appendblock":
            if blob is None:
                return _error(404, "BlobNotFound", "The specified blob does not exist.")
            if blob.kind is not BlobKind.APPEND:
                return _error(409, "InvalidBlobType", "The blob type is invalid for this operation.")
            offset = len(blob.content)
            self.append(request.path, request.body)
            return _done(201, blob, {"x-ms-blob-append-offset": str(offset)})
        kind = request.headers.get("x-ms-blob-type")
        if kind not in tuple(BlobKind):
            return _error(400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is missing.")
        made = self.known[request.path] = Blob(BlobKind(kind), request.body)
        return _done(201, made)


def _read(request: Request, blob: Blob) -> Answer:
    length = len(blob.content)
    wanted = request.headers.get("x-ms-range") or request.headers.get("range")
    about = {"x-ms-blob-type": blob.kind.value, "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    found = _RANGE.fullmatch(wanted) if wanted else None
    if found is None:
        return _done(200, blob, about, blob.content)
    start, last = int(found[1]), min(int(found[2] or length), length - 1)
    if start >= length:
        text = "The range specified is invalid for the current size of the resource."
        return _error(416, "InvalidRange", text, {"Content-Range": f"bytes */{length}"})
    about["Content-Range"] = f"bytes {start}-{last}/{length}"
    return _done(206, blob, about, blob.content[start : last + 1])


def _done(status: int, blob: Blob, more: Mapping[str, str] | None = None, content: bytes = b"") -> Answer:
    headers = {"x-ms-version": VERSION, "ETag": f'"0x{blob.changes:016X}"', **(more or {})}
    return Answer(status, content, headers)


def _error(status: int, code: str, text: str, more: Mapping[str, str] | None = None) -> Answer:
    """Refuse as the Blob service does: the code in a header and in XML (documented)."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'
    headers = {"x-ms-version": VERSION, "x-ms-error-code": code, "Content-Type": "application/xml"}
    return Answer(status, body.encode(), {**headers, **(more or {})})


def _signature(uri: str) -> str | None:
    return parse_qs(urlsplit(uri).query).get("sig", [None])[0]
