"""Debian packages and the flat repositories that hold them, made from nothing but names and versions.

The packages hold no files: what counts is that the real ``apt-get`` and ``dpkg`` of this machine fetch, unpack and
configure them in a guest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MADE = 1_700_000_000
_DATE = "Tue, 14 Nov 2023 22:13:20 UTC"


@dataclass(frozen=True, slots=True)
class Deb:
    """A package's control fields, and the script that ends its installation."""

    name: str
    version: str
    depends: str = ""
    postinst: str = ""

    def control(self, *more: str) -> str:
        """Return the fields as a paragraph; ``more`` are lines behind the name."""
        lines = [f"Package: {self.name}", *more, f"Version: {self.version}", "Architecture: all"]
        lines += [f"Depends: {self.depends}"] if self.depends else []
        lines += ["Maintainer: The lab <lab@example.org>", f"Description: {self.name}, made by the lab"]
        return "\n".join(lines) + "\n"


def packed(deb: Deb) -> bytes:
    """Return the .deb file: an ar archive of a version, the control files and no data (deb(5))."""
    scripts = {"postinst": (deb.postinst.encode(), 0o755)} if deb.postinst else {}
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": _tar({"control": (deb.control().encode(), 0o644), **scripts}),
        "data.tar.gz": _tar({}),
    }
    made = bytearray(b"!<arch>\n")
    for name, content in members.items():
        made += f"{name:<16}{_MADE:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        made += content + b"\n" * (len(content) % 2)
    return bytes(made)


def write_repository(folder: Path, debs: Iterable[Deb], *, label: str, suite: str) -> None:
    """Fill a new folder with packages, their list, and the file that says where they come from."""
    folder.mkdir(parents=True)
    paragraphs = []
    for deb in debs:
        content = packed(deb)
        file = f"{deb.name}_{deb.version}_all.deb"
        (folder / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        paragraphs.append(f"{deb.control()}Filename: ./{file}\nSize: {len(content)}\nSHA256: {digest}\n")
    listed = "\n".join(paragraphs).encode()
    (folder / "Packages").write_bytes(listed)
    release = (
        f"Origin: {label}\nLabel: {label}\nSuite: {suite}\nCodename: {suite}\nDate: {_DATE}\nArchitectures: all\n"
        f"SHA256:\n {hashlib.sha256(listed).hexdigest()} {len(listed)} Packages\n"
    )
    (folder / "Release").write_text(release, encoding="ascii")


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode, entry.mtime = len(content), mode, _MADE
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)
