"""Windows PowerShell 5.1 has all that the shipped scripts use: Run Command starts it unless PowerShell 7 is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.powershell.surface import allowed, scripts, used

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(pwsh: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What all scripts use."""
    folder = tmp_path_factory.mktemp("surface")
    return used(pwsh, scripts(folder), folder)


def test_scripts_use_nothing_that_windows_powershell_lacks(found: dict[str, list[str]]) -> None:
    """Each cmdlet, parameter, class, member and piece of syntax is on the list, with the page that gives it for 5.1."""
    more = {use: places[:3] for use, places in found.items() if use not in allowed()}
    assert not more, "\n".join(f"{use}  at {', '.join(places)}" for use, places in sorted(more.items()))


def test_the_list_holds_nothing_that_no_script_uses(found: dict[str, list[str]]) -> None:
    """What is no longer used leaves the list."""
    assert sorted(allowed().keys() - found.keys()) == []


BREACHES = {
    "Get-ChildItem -LiteralPath . -FollowSymlink": "command get-childitem -followsymlink",
    "Get-ChildItem -Rec": "command get-childitem -rec",
    "gci .": "command gci",
    "Join-Path a b c": "command join-path +3",
    "1..3 | ForEach-Object -Parallel { $_ }": "command foreach-object -parallel",
    "Get-Content x -Encoding utf8NoBOM": "value get-content -encoding utf8nobom",
    "Get-Content x -Encoding:utf8NoBOM": "value get-content -encoding utf8nobom",
    "[System.IO.File]::Move('a', 'b', $true)": "member [system.io.file]::move/3",
    "[Environment]::TickCount64": "member [environment]::tickcount64",
    "(Get-Process).Kill($true)": "member .kill/1",
    "New-Object System.Text.Json.JsonDocument": "type system.text.json.jsondocument",
    "$null ?? 1": "syntax binaryexpression questionquestion",
    "$true ? 1 : 2": "syntax ternaryexpression",
    "Get-Date && Get-Date": "syntax pipelinechain",
    "(Get-Date)?.Year; ${x}?.Year": "syntax nullconditional",
    "$x = 12n": "syntax number n",
    "0b11": "syntax number 0b",
    '"`e[0m"': "syntax escape `e",
    "if ($IsWindows) { }": "variable iswindows",
    "New-Object -ComObject Some.Thing": "com some.thing",
}


def test_the_check_refuses_what_came_later(pwsh: str, tmp_path: Path) -> None:
    """Twenty ways to use what 5.1 lacks, or to hide it, are each found, and none is on the list. 5.1 itself reads some of
    them as errors, and others as something else that is not on the list.
    """
    newer = Path(pwsh).stem.lower() != "powershell"
    files = []
    for number, text in enumerate(BREACHES):
        (tmp_path / f"{number}.ps1").write_text(text, "ascii")
        files.append(tmp_path / f"{number}.ps1")
    seen, listed = used(pwsh, files, tmp_path), allowed()
    for file, (text, use) in zip(files, BREACHES.items(), strict=True):
        uses = {each for each, places in seen.items() if any(place.startswith(f"{file}:") for place in places)}
        found = use in uses if newer else any(each.startswith("error ") or each not in listed for each in uses)
        assert found, (text, uses)
        assert use not in listed, text
