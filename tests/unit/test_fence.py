"""The fence around mutants that run as root (``tests.bench.mutation``)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.cores import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mount namespaces are Linux's")

_BEHIND = """
import os, sys
from pathlib import Path
from tests.bench.fence import SCRATCH, stay_behind

try:
    stay_behind()
except PermissionError as error:
    print("no namespaces:", error)
    raise SystemExit
for place in map(Path, ["/", "/tmp", "/dev", *sys.argv[1:]]):
    try:
        place.chmod(place.stat().st_mode & 0o7777)
    except OSError as error:
        print(error.strerror)
    else:
        print("changed", place)
print(len(list(SCRATCH.iterdir())))
(SCRATCH / "fence-of-mutants").mkdir(0o700)
(SCRATCH / "fence-of-mutants" / "file").write_text("written")
print((SCRATCH / "fence-of-mutants" / "file").read_text())
"""


def test_behind_the_fence_nothing_but_the_scratch_folder_can_be_changed(tmp_path: Path) -> None:
    """Root itself is refused everywhere, files of its own included; the scratch folder is empty, and leaves nothing."""
    mine = tmp_path / "mine"
    mine.touch()
    as_root = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
    command = [*as_root, sys.executable, "-c", _BEHIND, str(mine)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    if done.stdout.startswith("no namespaces") or done.stderr.startswith("unshare"):
        pytest.skip(done.stdout + done.stderr)
    assert done.stdout.splitlines() == ["Read-only file system"] * 4 + ["0", "written"], done.stderr
    assert not Path("/dev/shm/fence-of-mutants").exists()
    mine.write_text("still to be written by everybody else")
