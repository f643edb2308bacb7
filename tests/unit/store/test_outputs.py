"""Output fetched from VMs, kept beside its run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fleet.errors import StateError
from fleet.run.model import Extent
from fleet.store.sqlite import outputs

DATA = b"all\x00of\xffit"
DIGEST = hashlib.sha256(DATA).hexdigest()


def kept(folder: Path, *, length: int = len(DATA), digest: str = DIGEST) -> bytes | None:
    return outputs.kept(folder, 3, "stdout", Extent(length, digest))


def test_what_was_kept_is_there(tmp_path: Path) -> None:
    """Bytes come back as they were, for the same job and stream, in private files."""
    outputs.keep(tmp_path, 3, "stdout", b"first")
    outputs.keep(tmp_path, 3, "stdout", DATA)
    assert kept(tmp_path) == kept(tmp_path, digest="-") == DATA
    assert outputs.kept(tmp_path, 4, "stdout", Extent(len(DATA), DIGEST)) is None
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["3.stdout"]
    assert (tmp_path / "output").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "output" / "3.stdout").stat().st_mode & 0o777 == 0o600


def test_what_is_not_as_it_should_be_is_not_believed(tmp_path: Path) -> None:
    """Another length, another digest or a link is as good as nothing."""
    outputs.keep(tmp_path, 3, "stdout", DATA)
    assert kept(tmp_path, length=3) is None
    assert kept(tmp_path, digest="0" * 64) is None
    path = tmp_path / "output" / "3.stdout"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept(tmp_path) is None


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file in the way gives a sentence."""
    (tmp_path / "output").write_text("")
    with pytest.raises(StateError, match="output"):
        outputs.keep(tmp_path, 3, "stdout", DATA)
