"""Which program a seed failed in: a scenario is replayed exactly by the same one only."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import fleet
from fleet import children


@cache
def revision(package: Path = Path(fleet.__file__).parent) -> str:
    """Name Fleet's version, and in a checkout its commit and whether files were changed since."""
    name = f"fleet {version('azfleet')}"
    # A package that is installed somewhere inside of another project's tree is no part of that project's commits.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return name
    commit = _git(package, "describe", "--always", "--dirty=, changed since", "--exclude=*")
    return f"{name}, commit {commit}" if commit else name


def _git(folder: Path, *words: str) -> str | None:
    """What git says in a folder; None if it refuses, or there is none."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        command = [git, "-C", str(folder), *words]
        variables = children.environment(os.environ)
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=variables)  # fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
