"""Targets and where expressions to draw from: few values, so that expressions fit often."""

from __future__ import annotations

from hypothesis import strategies as st

from fleet.targets.model import Os, Power, Target

NAMES = ("web-1", "WEB-2", "web-10", "db-1", "vm-jump-01", "k1", "\u212a1", "Straße")
GROUPS = ("rg-web", "RG-Web", "rg-db", "legacy")
LOCATIONS = ("westeurope", "eastus", "WestEurope")
SIZES = ("Standard_B2s", "Standard_D4s_v5", "")
TAG_NAMES = ("env", "Env", "freeze", "Cost Centre", 'od"d')
TAG_VALUES = ("prod", "Prod", "dev", "", 'a"b\\c', "é", "team-prod-1")


def make(name: str = "web-1", **more: object) -> Target:
    """One target whose id follows from its subscription, group and name."""
    fields: dict[str, object] = {
        "subscription": "11111111-0000-4000-8000-000000000001",
        "subscription_name": "prod-web",
        "resource_group": "rg-web",
        "location": "westeurope",
        "os": Os.LINUX,
        "size": "Standard_B2s",
        "power": Power.RUNNING,
    } | more
    path = f"/subscriptions/{fields['subscription']}/resourceGroups/{fields['resource_group']}"
    identity = f"{path}/providers/Microsoft.Compute/virtualMachines/{name}"
    return Target(**({"id": identity, "name": name} | fields))  # type: ignore[arg-type]


def _distinct_names(tags: dict[str, str]) -> dict[str, str]:
    """Azure keeps no two tags whose names differ in case only."""
    return {name: value for name, value in tags.items() if name != "Env" or "env" not in tags}


targets = st.builds(
    make,
    st.sampled_from(NAMES),
    subscription_name=st.sampled_from(["prod-web", "Prod-DB", "dev"]),
    resource_group=st.sampled_from(GROUPS),
    location=st.sampled_from(LOCATIONS),
    size=st.sampled_from(SIZES),
    zone=st.sampled_from(["", "1"]),
    os=st.sampled_from(Os),
    power=st.sampled_from(Power),
    tags=st.dictionaries(st.sampled_from(TAG_NAMES), st.sampled_from(TAG_VALUES)).map(_distinct_names),
)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_globs = st.lists(st.sampled_from(["*", "?", "web", "-", "rg", "e", "1", "prod", "k", "\u212a"]), max_size=4)
_texts = st.sampled_from([*NAMES, *GROUPS, *LOCATIONS, *SIZES, *TAG_VALUES])
_fields = st.one_of(
    st.sampled_from(["name", "location", "size", "zone", "resource_group", "subscription"]),
    st.sampled_from(TAG_NAMES).map(lambda name: f"tag[{_quoted(name)}]"),
)
_clauses = st.one_of(
    st.builds(lambda f, op, v: f"{f} {op} {_quoted(v)}", _fields, st.sampled_from(["==", "!="]), _texts),
    st.builds(lambda f, parts: f"{f} matches {_quoted(''.join(parts))}", _fields, _globs),
    st.builds(
        lambda f, op, values: f"{f} {op} [{', '.join(map(_quoted, values))}]",
        _fields,
        st.sampled_from(["in", "not in"]),
        st.lists(_texts, min_size=1, max_size=3),
    ),
    st.sampled_from(TAG_NAMES).map(lambda name: f"tag[{_quoted(name)}]"),
    st.sampled_from(['kind == "vm"', 'kind != "arc"', 'kind in ["arc", "scale_set"]', 'scale_set == "web"']),
    st.sampled_from(['os == "linux"', 'os != "Windows"', 'os matches "w*"', 'power in ["running", "stopped"]']),
)
expressions = st.recursive(
    _clauses,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.builds(lambda a, word, b: f"({a}) {word} ({b})", inner, st.sampled_from(["and", "or"]), inner),
        st.builds(lambda a, b: f"{a} and {b}", inner, inner),
    ),
    max_leaves=6,
)
