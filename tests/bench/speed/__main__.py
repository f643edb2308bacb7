"""How fast Fleet is, beside what Azure allows and beside other clients.

    python -m tests.bench.speed [--quick] [--only PART] [--picture FILE] [--page FILE] [--save FILE] [--from FILE]

Prints three tables: the figures that Fleet holds itself to, real processes over a minimal service on loopback, and runs in
virtual time. It takes about half an hour; ``--quick`` takes less than five minutes, with fewer VMs and shorter scripts.
``FLEET_PEERS_DIR`` names the folder in which ``tests/peers`` keeps Microsoft's SDK; without it those rows are left out.
``--save`` keeps what was measured, and ``--from`` shows what was kept, without measuring anything. ``--only virtual`` or
``--only processes`` measures one part; with ``--from`` the other part is what was kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench.speed.figures import Faults, Found, Start, figures_table
from tests.bench.speed.picture import draw
from tests.bench.speed.rows import Case, Measured, process_table, virtual_table
from tests.bench.speed.sitting import NOTHING, PARTS, QUICK, Sitting, Sizes

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and show what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer VMs, shorter scripts: five minutes")
    parser.add_argument("--only", choices=PARTS, default="", help="measure one part")
    parser.add_argument("--picture", type=Path, help="draw an SVG")
    parser.add_argument("--page", type=Path, help=f"put the tables between {BEGIN} and {END} of this page")
    parser.add_argument("--save", type=Path, help="keep what was measured as JSON")
    parser.add_argument("--from", type=Path, dest="kept", help="show what was kept; measure nothing, or --only a part")
    asked = parser.parse_args(words)
    data: dict[str, Any] = {"found": asdict(NOTHING), "machine": machine(), "skipped": []}
    if asked.kept:
        data = json.loads(asked.kept.read_text(encoding="utf-8"))
    found = revived(data["found"])
    if asked.only or not asked.kept:
        sitting = Sitting(QUICK if asked.quick else Sizes())
        found = sitting.measure(asked.only, found)
        data = {"found": asdict(found), "machine": machine(), "skipped": sitting.skipped}
    if asked.save:
        asked.save.write_text(json.dumps(data), encoding="utf-8")
    print("\n\n".join(parts := tables(found, data["machine"], data["skipped"])))
    if asked.picture:
        asked.picture.write_text(draw(found), encoding="utf-8")
    if asked.page:
        page = asked.page.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            sys.exit(f"{asked.page} has no {BEGIN} and {END}")
        text = "\n\n".join(
            (*parts[:-1], "<details><summary>All runs in virtual time</summary>", parts[-1], "</details>")
        )
        asked.page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def machine() -> str:
    """Say what it was measured on."""
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"


def tables(found: Found, where: str, skipped: list[str]) -> list[str]:
    """Return what is shown, in Markdown; the last part is the long table of all runs in virtual time."""
    parts = [f"Measured with {where}.", figures_table(found), "Real processes:", process_table(found.processes)]
    parts += [f"Not measured: {'; '.join(skipped)}."] if skipped else []
    return [*parts, virtual_table(found.virtual)]


def revived(data: dict[str, Any]) -> Found:
    """Return what was measured from its JSON."""
    virtual, processes = ([_row(row) for row in data[name]] for name in ("virtual", "processes"))
    start, faults = data["start"] and Start(**data["start"]), data["faults"] and Faults(**data["faults"])
    return Found(virtual, processes, start, faults)


def _row(data: dict[str, Any]) -> Measured:
    return Measured(**{**data, "case": Case(**data["case"])})


if __name__ == "__main__":
    main()
