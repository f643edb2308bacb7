"""Managed commands as text: whatever their names and outputs hold, they do nothing to whoever reads them."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from fleet.cli.command_tables import listing, shown
from fleet.commands.model import ManagedCommand
from fleet.targets.model import Os, Target

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HOSTILE = "\x1b]0;owned\x07\u202e\n=cmd|x"


def command(text: str) -> ManagedCommand:
    target = Target("/subscriptions/s/vm", "s", "", "rg", "vm", "we", Os.LINUX)
    return ManagedCommand(
        target,
        text,
        state=text,
        tags={text: text},
        view={"output": text, "error": text, "more": text, "statuses": [{"code": text, text: text}, text]},
    )


@given(st.text() | st.just(HOSTILE))
def test_nothing_that_a_vm_prints_steers_a_terminal(text: str) -> None:
    """Pages and tables hold no control or invisible character but line ends and tabs; JSON keeps every character."""
    for page in (shown([command(text)], "table", 0.0), listing([command(text)], "table", 0.0)):
        assert all(char in "\n\t" or unicodedata.category(char) not in UNSEEN for char in page)
    assert json.loads(shown([command(text)], "json", 0.0))[0]["instanceView"]["output"] == text


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.just(HOSTILE) | st.just('a,"b"\n=cmd|x,c'))
def test_csv_is_one_row_for_each_command_and_no_formula(text: str) -> None:
    """Whatever a name holds, a reader of CSV finds as many rows and cells as there are, and no cell is a formula."""
    head, row = csv.reader(io.StringIO(listing([command(text)], "csv", 0.0), newline=""))
    assert len(head) == len(row)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in row)


def test_each_status_is_a_line_of_its_own() -> None:
    """Level, code, words, message and time; what nobody knows is shown as it came."""
    status = {"code": "ProvisioningState/failed", "level": "Error", "message": "no room", "time": "2026-01-01T00:00Z"}
    found = [status, {"code": "a", "new": 1}, 7]
    page = shown([ManagedCommand(command("c").target, "c", view={"statuses": found})], "table", 0.0)
    lines = [line.strip() for line in page.splitlines() if line.startswith("  status:")]
    assert lines == [
        "status: Error: ProvisioningState/failed: no room (2026-01-01T00:00Z)",
        'status: a {"new": 1}',
        "status: 7",
    ]


def test_a_signed_address_loses_its_signature() -> None:
    """Wherever in the view it stands."""
    page = shown([ManagedCommand(command("c").target, "c", view={"outputBlob": "https://x/y?sig=abc"})], "table", 0.0)
    assert "https://x/y" in page and "abc" not in page
