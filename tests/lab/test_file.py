"""The lab file: its keys, its mistakes, its examples, and its page in the docs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pydantic
import pytest

from fleet.errors import InvalidInput
from fleet.lab.world import access, machine_spec, maintenance, spec
from fleet.lab.world.build import build

LABS = Path(__file__).parent / "labs"
PAGE = Path(__file__).parents[2] / "docs" / "lab.md"
MODELS: dict[str, type[pydantic.BaseModel]] = {
    "The lab": spec.LabSpec,
    "`subscriptions`": spec.SubscriptionSpec,
    "`groups`": spec.GroupSpec,
    "`vms`": spec.VmSpec,
    "`scale_sets`": spec.ScaleSetSpec,
    "`arc`": spec.ArcSpec,
    "`maintenance`": maintenance.MaintenanceSpec,
    "`dynamic`": maintenance.DynamicScopeSpec,
    "`rights`": access.RightsSpec,
    "`updates`": machine_spec.UpdatesSpec,
    "`disks`": machine_spec.DiskSpec,
    "`packages`": machine_spec.PackageSpec,
    "`offered`": machine_spec.OfferedSpec,
    "`services`": machine_spec.ServiceSpec,
    "`rules`": spec.RuleSpec,
    "`faults`": spec.FaultSpec,
}


def load(text: str) -> spec.LabSpec:
    """Load a text as lab.yaml."""
    return spec.load(text, file="lab.yaml")


def around(vms: str) -> str:
    """Put a VM class into a lab."""
    return f"subscriptions:\n- name: s\n  groups:\n  - name: g\n    vms:\n    - {vms}\n"


def test_the_default_lab() -> None:
    """The default lab has 120 running Linux VMs of many kinds, and 6 Windows VMs in a group of their own."""
    machines = list(build(spec.default()).machines())
    subscriptions = spec.default().subscriptions
    assert (len(subscriptions), sum(len(each.groups) for each in subscriptions)) == (2, 7)
    assert Counter((m.system, m.power, m.guest) for m in machines) == {
        ("linux", "running", "sandbox"): 120,
        ("windows", "running", "sandbox"): 6,
    }
    assert {m.system for m in machines if m.group.name == "rg-win-prod"} == {"windows"}
    for value in ("size", "image", "location", "zone"):
        assert len({getattr(machine, value) for machine in machines}) >= 3, value
    assert {machine.tags["ring"] for machine in machines} == {"canary", "early", "broad"}


def test_values_are_dealt_out_in_turn() -> None:
    """Lists of sizes, zones and tag values are dealt out in turn; shares and durations have short forms."""
    given = "{name: 'vm{n:02}', count: 3, size: [A, B], zones: ['1'], tags: {ring: [x, y], env: prod}}"
    machines = list(build(load(around(given))).machines())
    assert [(m.name, m.size, m.zone, m.tags["ring"], m.tags["env"]) for m in machines] == [
        ("vm01", "A", "1", "x", "prod"),
        ("vm02", "B", "1", "y", "prod"),
        ("vm03", "A", "1", "x", "prod"),
    ]
    rule = load(around("{name: v, rules: [{share: 12.5%, duration: 3}]}"))
    found = rule.subscriptions[0].groups[0].vms[0].rules[0]
    assert (found.share, found.duration) == (0.125, [3, 3])


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("sped: 2\n" + around("{name: v}"), "unknown key 'sped'", "did you mean 'speed'?"),
        (around("{name: v, power: stoped}"), "power is 'stoped'", "did you mean 'stopped'?"),
        (around("{name: v, count: 2}"), "name needs {n} when count is above 1", ""),
        (around("{name: 'v{x}'}"), "only {n} is known", ""),
        (around("{name: v, os: windows, patch_mode: ImageDefault}"), "ImageDefault is not a patch mode of windows", ""),
        (around("{name: v, patch_mode: Manual}"), "Manual is not a patch mode of linux", ""),
        (
            around("{name: v}") + "    maintenance: [{name: m, purpose: Host, dynamic: {}}]\n",
            "a dynamic scope is for InGuestPatch only",
            "",
        ),
        (
            around("{name: v, os: windows, updates: {boot_mib: 5}}"),
            "updates.boot_mib is for Linux guests, these are Windows",
            "",
        ),
        (
            around("{name: v, updates: {search_fails: '0x80248007'}}"),
            "updates.search_fails is for Windows guests, these are Linux",
            "",
        ),
        (around("{name: v, cim: broken}"), "cim is for Windows guests, these are Linux", ""),
        (
            around("{name: v, updates: {offered: {KB5044281: {}}}}"),
            "updates.offered is for Windows guests, these are Linux",
            "",
        ),
        (around("{name: v, services: {W32Time: {}}}"), "services is for Windows guests, these are Linux", ""),
        (around("{name: v, os: windows, disks: {/: {}}}"), "disk / is for Linux guests, these are Windows", ""),
        (around("{name: v, rules: [{when: '('}]}"), "not a regular expression", ""),
        (around("{name: v}\n    - {name: V}"), "is there twice", ""),
        ("subscriptions: []\n", "subscriptions", ""),
    ],
)
def test_mistakes_are_named(text: str, said: str, hint: str) -> None:
    """A mistake is refused with its place, what is wrong, and a hint where there is one."""
    with pytest.raises(InvalidInput) as refused:
        load(text)
    (problem,) = refused.value.problems
    assert said in problem.message and problem.hint == hint
    assert (problem.file, problem.line >= 1) == ("lab.yaml", True)


@pytest.mark.parametrize(
    ("name", "subscriptions", "machines", "running"),
    [("thousand", 4, 1000, 1000), ("failing-tenth", 1, 110, 100)],
)
def test_examples(name: str, subscriptions: int, machines: int, running: int) -> None:
    """The example labs load and hold what they say."""
    world = build(load((LABS / f"{name}.yaml").read_text(encoding="utf-8")))
    assert len(world.subscriptions) == subscriptions
    found = list(world.machines())
    assert (len(found), sum(machine.running for machine in found)) == (machines, running)


def test_a_tenth_fails() -> None:
    """In the failing tenth exactly ten VMs have the failing rule first."""
    world = build(load((LABS / "failing-tenth.yaml").read_text(encoding="utf-8")))
    assert sum(bool(m.rules) and m.rules[0].exit == 3 for m in world.machines()) == 10


def test_the_page_names_every_key() -> None:
    """docs/lab.md has a table of keys for each part, with exactly the model's keys and their descriptions."""
    text = PAGE.read_text(encoding="utf-8")
    for heading, model in MODELS.items():
        match = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        assert match, f"no section {heading}"
        rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", match[1], re.MULTILINE))
        told = {name: str(field.description).replace("|", "\\|") for name, field in model.model_fields.items()}
        assert rows == told


def test_the_pages_examples_load() -> None:
    """Every YAML example of docs/lab.md is a lab file that loads."""
    examples = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        load(example)


def test_the_schema_has_every_key() -> None:
    """The JSON Schema names the lab's keys and refuses unknown ones."""
    schema = spec.schema()
    assert set(schema["properties"]) == set(spec.LabSpec.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["subscriptions"]
