"""The report in CI."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given

from fleet.report.aggregate import aggregate
from fleet.report.render_junit import render

from . import factory as f
from .hostile import texts

SCHEMAS = Path(__file__).parents[4] / "shared" / "schemas" / "junit"


def test_one_suite_a_target_and_one_case_a_step() -> None:
    """Every target is a suite, every step a case; failures, errors and skips are what their statuses say."""
    plan = f.plan(f.fleet(3), [f.step("one"), f.step("two")])
    jobs = [f.succeeded(), f.failed(), f.unreachable(), f.not_started(), f.succeeded()]
    root = ET.fromstring(render(aggregate(f.record(plan, jobs))))
    numbers = [tuple(suite.get(key) for key in ("tests", "failures", "errors", "skipped")) for suite in root]
    assert numbers == [("2", "1", "0", "0"), ("2", "0", "1", "1"), ("2", "0", "0", "0")]
    assert [case.get("name") for case in root.iter("testcase")] == ["one", "two"] * 3
    failure = next(root.iter("failure"))
    assert failure.get("type") == "exit_code" and "could not get lock" in (failure.text or "")


def test_an_unread_subscription_is_red() -> None:
    """A scope that could not be read is a suite with an error, so CI cannot be green over it."""
    last = ET.fromstring(render(aggregate(f.mixed())))[-1]
    assert last.get("name") == "subscription prod-legacy" and last.get("errors") == "1"


@given(texts)
def test_hostile_text_is_legal_xml(text: str) -> None:
    """Whatever machines print, the document parses and has the shape it should have."""
    root = ET.fromstring(render(aggregate(f.hostile(text))).encode("utf-8"))
    assert len(root) == 5
    assert {element.tag for element in root.iter()} == {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped",
        "system-out", "system-err",
    }  # fmt: skip


@pytest.mark.shared
@pytest.mark.parametrize("schema", ["JUnit-windyroad.xsd", "junit-10-jenkins-xunit.xsd"])
def test_it_is_valid_for_the_common_schemas(schema: str, tmp_path: Path) -> None:
    """The document is valid under the Ant schema and under the one Jenkins uses."""
    if not (SCHEMAS / schema).exists():
        pytest.skip("the JUnit schemas are not beside this repository")
    for number, record in enumerate((f.mixed(), f.hostile("\x1b<&>\"'\ud800 ]]>"))):
        file = tmp_path / f"{number}.xml"
        file.write_text(render(aggregate(record)), encoding="utf-8")
        _validate(file, SCHEMAS / schema)


def _validate(file: Path, schema: Path) -> None:
    try:
        from lxml import etree  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        if (tool := shutil.which("xmllint")) is None:
            pytest.skip("neither lxml nor xmllint is installed")
        command = [tool, "--nonet", "--noout", "--schema", str(schema), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        etree.XMLSchema(file=str(schema)).assertValid(etree.parse(str(file)))
