"""Loads playbooks from files."""

from __future__ import annotations

from pathlib import Path

from fleet.documents.files import MOST_READ, is_own_stream, read_bounded, read_text
from fleet.playbook.load import load
from fleet.playbook.model import Playbook


def load_playbook(path: Path) -> Playbook:
    """Load a playbook and its script files. Raises InvalidInput with every problem."""
    return playbook_of(read_text(path, "the playbook"), path)


def playbook_of(text: str, path: Path) -> Playbook:
    """As :func:`load_playbook`, of what was read from there. A pipe's scripts are looked for in the current folder."""
    folder = Path() if is_own_stream(path) else path.parent
    return load(
        text,
        file=str(path),
        read_script=lambda name: read_bounded(folder / name, MOST_READ),
    )
