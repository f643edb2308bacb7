"""Settings come from five places in a fixed order, and every one of them is checked."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import fleet.config.load
from fleet.config import schema
from fleet.config.load import Config
from fleet.config.model import AzureConfig, Credential, RunConfig, leaves
from fleet.documents import read
from fleet.errors import InvalidInput, Problem

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config.example.yaml"


class Place:
    """A home and a current folder of their own."""

    def __init__(self, root: Path) -> None:
        self.home, self.cwd = root / "home", root / "cwd"
        self.own = self.home / ".config" / "fleet" / "config.yaml"
        self.own.parent.mkdir(parents=True)
        self.cwd.mkdir()

    def load(self, *, flags: dict[str, str] | None = None, **environ: str) -> tuple[Config, fleet.config.load.Origins]:
        return fleet.config.load.load(flags=flags or {}, environ=environ, cwd=self.cwd, home=self.home)

    def problems(self, *, flags: dict[str, str] | None = None, **environ: str) -> list[Problem]:
        with pytest.raises(InvalidInput) as caught:
            self.load(flags=flags, **environ)
        return list(caught.value.problems)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_any_source_everything_is_default(place: Place) -> None:
    """Fleet works without configuration."""
    found, origins = place.load()
    assert found == Config(AzureConfig(), RunConfig(), place.home / ".local" / "state" / "fleet")
    assert set(origins) == set(leaves())
    assert set(origins.values()) == {"default"}


def test_the_first_source_wins(place: Place) -> None:
    """Flag before variable before chosen file before own file before default, key by key, with its origin."""
    place.own.write_text("run:\n  concurrency: 1\n  transport: action\n  receipts: false\n  answer_grace: 1m\n")
    (place.cwd / "config.yaml").write_text("run:\n  concurrency: 2\n  transport: managed\n  receipts: true\n")
    found, origins = place.load(flags={"run.concurrency": "4"}, FLEET_RUN_CONCURRENCY="3", FLEET_RUN_TRANSPORT="auto")
    assert found.run == RunConfig(concurrency=4, transport="auto", receipts=True, answer_grace=60.0)
    assert origins["run.concurrency"] == "command line"
    assert origins["run.transport"] == "FLEET_RUN_TRANSPORT"
    assert origins["run.receipts"] == f"{place.cwd / 'config.yaml'}:4"
    assert origins["run.answer_grace"] == f"{place.own}:5"
    assert origins["run.deliver_timeout"] == "default"


def test_one_config_file_is_chosen(place: Place) -> None:
    """--config comes before FLEET_CONFIG, which comes before ./config.yaml; the others are not read."""
    for number, name in enumerate(("config.yaml", "a.yaml", "b.yaml"), start=1):
        (place.cwd / name).write_text(f"run: {{concurrency: {number}}}")
    assert place.load()[0].run.concurrency == 1
    assert place.load(FLEET_CONFIG="a.yaml")[0].run.concurrency == 2
    assert place.load(flags={"config": "b.yaml"}, FLEET_CONFIG="a.yaml")[0].run.concurrency == 3


def test_null_sets_a_value_back(place: Place) -> None:
    """An explicit null in a nearer source overrides a value from a farther one."""
    place.own.write_text("state_dir: /far\nazure: {ca_file: /far.pem}\n")
    (place.cwd / "config.yaml").write_text("state_dir: null\nazure: {ca_file: null}\n")
    found, _ = place.load()
    assert (found.azure.ca_file, found.state_dir) == (None, place.home / ".local" / "state" / "fleet")


def test_paths_start_where_they_are_written(place: Place) -> None:
    """A relative path belongs to its file's folder, to the current folder for variables; ~ is the home."""
    place.own.write_text("azure: {ca_file: ca.pem}\nstate_dir: ~/runs\n")
    found, _ = place.load()
    assert found.azure.ca_file == place.own.parent / "ca.pem"
    assert found.state_dir == place.home / "runs"
    assert place.load(FLEET_STATE_DIR="here: #1")[0].state_dir == place.cwd / "here: #1"


def test_xdg_folders_are_honoured(place: Place, tmp_path: Path) -> None:
    """The user's own file and the state move with XDG_CONFIG_HOME and XDG_STATE_HOME."""
    other = tmp_path / "xdg" / "fleet"
    other.mkdir(parents=True)
    (other / "config.yaml").write_text("run: {concurrency: 9}")
    found, _ = place.load(XDG_CONFIG_HOME=str(other.parent), XDG_STATE_HOME=str(tmp_path))
    assert (found.run.concurrency, found.state_dir) == (9, tmp_path / "fleet")


@pytest.mark.parametrize("odd", ["", "relative", "./x", "~/x"])
def test_xdg_folders_that_are_not_absolute_are_ignored(place: Place, odd: str) -> None:
    """The specification of these variables calls a relative path invalid."""
    place.own.write_text("run: {concurrency: 7}")
    found, _ = place.load(XDG_CONFIG_HOME=odd, XDG_STATE_HOME=odd)
    assert (found.run.concurrency, found.state_dir) == (7, place.home / ".local" / "state" / "fleet")


def test_without_a_home_the_state_must_be_named(place: Place) -> None:
    """A user of a container may have none: then only what is named is read, and a path may not begin there."""

    def load(**environ: str) -> fleet.config.load.Config:
        return fleet.config.load.load(flags={}, environ=environ, cwd=place.cwd, home=None)[0]

    assert load(FLEET_STATE_DIR="/state").state_dir == Path("/state")
    assert load(XDG_STATE_HOME="/xdg").state_dir == Path("/xdg/fleet")
    for environ in ({}, {"FLEET_STATE_DIR": "~/state"}, {"FLEET_STATE_DIR": "/s", "FLEET_AZURE_CA_FILE": "~/ca.pem"}):
        with pytest.raises(InvalidInput) as refused:
            load(**environ)
        assert [problem.code for problem in refused.value.problems] == ["no_home"]


def test_a_home_that_is_no_folder_has_no_settings(place: Place) -> None:
    """As for users of services, whose home is /dev/null; a file that was named must still be there."""
    found = fleet.config.load.load(
        flags={}, environ={"FLEET_STATE_DIR": "/state"}, cwd=place.cwd, home=Path("/dev/null")
    )[0]
    assert found.run.concurrency == "auto"
    with pytest.raises(InvalidInput, match="cannot be read"):
        place.load(FLEET_CONFIG="/dev/null/config.yaml")


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("cli", ("cli",)),
        ("{token_env: ARM_TOKEN}", ({"token_env": "ARM_TOKEN"},)),
        ("[cli, {managed_identity: {client_id: c}}]", ("cli", {"managed_identity": {"client_id": "c"}})),
        (
            "{client_secret: {tenant_id: t, client_id: c, secret_env: S}}",
            ({"client_secret": {"tenant_id": "t", "client_id": "c", "secret_env": "S"}},),
        ),
    ],
)
def test_credentials(place: Place, text: str, forms: tuple[Credential, ...]) -> None:
    """Every form of a credential is accepted, and a list is a pool."""
    assert place.load(FLEET_AZURE_CREDENTIAL=text)[0].azure.credential == forms


def test_a_cloud_of_ones_own(place: Place) -> None:
    """A custom cloud is kept as written, and plain http is accepted for this machine."""
    text = "{resource_manager: 'http://127.0.0.1:8080/', authority: 'https://login.example.org'}"
    assert place.load(FLEET_AZURE_CLOUD=text)[0].azure.cloud == {
        "resource_manager": "http://127.0.0.1:8080",
        "authority": "https://login.example.org",
    }


@pytest.mark.parametrize("text", ["a,b", " a , b ", "[a, b]"])
def test_lists_of_names(place: Place, text: str) -> None:
    """A variable holds a list as YAML or separated by commas."""
    assert place.load(FLEET_AZURE_SUBSCRIPTIONS=text)[0].azure.subscriptions == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text", "code", "hint"),
    [
        ("FLEET_RUN_CONCURRENCY", "many", "not_allowed", ""),
        ("FLEET_RUN_CONCURRENCY", "1.5", "wrong_type", ""),
        ("FLEET_RUN_CONCURRENCY", "0", "out_of_range", ""),
        ("FLEET_RUN_RECEIPTS", "yes", "ambiguous_scalar", "write true"),
        ("FLEET_RUN_TRANSPORT", "manged", "not_allowed", "did you mean 'managed'?"),
        ("FLEET_RUN_ANSWER_GRACE", "10 min", "duration", "write it as 45m or 1h30m"),
        ("FLEET_AZURE_CLOUD", "publik", "not_allowed", "did you mean 'public'?"),
        ("FLEET_AZURE_CLOUD", "{resource_manager: 'http://x', authority: 'https://y'}", "url", "write https://"),
        ("FLEET_AZURE_CLOUD", "{resource_manager: 'https://u@x', authority: 'https://y'}", "url", ""),
        ("FLEET_AZURE_CLOUD", "{resource_manager: 'https://x.org'}", "missing_key", ""),
        ("FLEET_AZURE_CREDENTIAL", "{}", "credential", None),
        ("FLEET_AZURE_CREDENTIAL", "[]", "out_of_range", ""),
        ("FLEET_AZURE_CREDENTIAL", "{token_env: a b}", "pattern", ""),
        ("FLEET_AZURE_CREDENTIAL", "{client_secret: {tenant_id: t, secret: x}}", "unknown_key", None),
        ("FLEET_AZURE_SUBSCRIPTIONS", "[a", "syntax", ""),
        ("FLEET_RUN_CONCURENCY", "5", "unknown_variable", "did you mean 'FLEET_RUN_CONCURRENCY'?"),
    ],
)  # fmt: skip
def test_bad_variables(place: Place, name: str, text: str, code: str, hint: str | None) -> None:
    """A variable that cannot be used is a problem that names the variable, not a line."""
    found = [item for item in place.problems(**{name: text}) if item.code == code]
    assert [(item.file, item.line, item.column) for item in found] == [(name, 0, 0)]
    assert hint is None or found[0].hint == hint


def test_other_variables_are_left_alone(place: Place) -> None:
    """Variables of no section, and empty ones, are not judged."""
    assert place.load(FLEET_SOMETHING="x", FLEET_RUN_CONCURRENCY="", HOME="/")[0].run == RunConfig()


def test_every_problem_of_every_source_at_once(place: Place) -> None:
    """Problems of files, variables and flags come together, files with their lines."""
    place.own.write_text("run:\n  concurency: 5\n")
    (place.cwd / "config.yaml").write_text("azure:\n  cloud: mars\n  cloud: public\n")
    found = place.problems(flags={"run.transport": "pigeon"}, FLEET_RUN_RECEIPTS="5")
    assert {(Path(item.file).name, item.line, item.code) for item in found} == {
        ("config.yaml", 2, "unknown_key"),
        ("config.yaml", 2, "not_allowed"),
        ("config.yaml", 3, "duplicate_key"),
        ("command line", 0, "not_allowed"),
        ("FLEET_RUN_RECEIPTS", 0, "wrong_type"),
    }


def test_a_named_file_must_be_there(place: Place) -> None:
    """A file that was asked for by name is missed; the usual places may be empty."""
    (found,) = place.problems(flags={"config": "none.yaml"})
    assert (found.code, found.file, found.hint) == (
        "config_unreadable",
        str(place.cwd / "none.yaml"),
        "check --config",
    )


def test_an_empty_file_changes_nothing(place: Place) -> None:
    """A file of comments only is no mistake."""
    place.own.write_text("# nothing yet\n")
    assert place.load()[0].run == RunConfig()


def test_values_can_be_shown(place: Place) -> None:
    """Every key has a plain value for showing."""
    found, origins = place.load(FLEET_AZURE_CA_FILE="/ca.pem")
    assert set(found.values()) == set(origins)
    assert found.values()["azure.ca_file"] == "/ca.pem"


def test_a_component_gets_what_the_table_names() -> None:
    """The keys that may be written are those that components are handed, in the same order."""
    sections = {"azure": schema.AzureKeys, "run": schema.RunKeys}
    inner = [f"{name}.{key}" for name, table in sections.items() for key in table.model_fields]
    assert (*inner, "state_dir") == leaves()
    assert tuple(schema.ConfigKeys.model_fields) == (*sections, "state_dir")


def test_the_example_names_every_key_with_its_default(place: Place) -> None:
    """config.example.yaml and the table of keys hold the same keys and the same defaults, both ways."""
    document = read.read(EXAMPLE.read_bytes(), file="example")
    written = {key for key in leaves() if document.mark(key.split(".")).line > 1}
    assert written == set(leaves())
    found, origins = place.load(flags={"config": str(EXAMPLE)})
    assert found == place.load()[0]
    assert set(origins.values()).isdisjoint({"default"})


def test_the_example_explains_every_key() -> None:
    """A comment stands above every key of the example."""
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\s*\w+: \S", line):
            assert lines[number - 1].lstrip().startswith("#"), line


def test_the_defaults_agree() -> None:
    """The sections that components get have the defaults of the table of keys."""
    table = schema.ConfigKeys()
    for name in RunConfig.__dataclass_fields__:
        assert getattr(RunConfig(), name) == getattr(table.run, name)
    assert AzureConfig() == AzureConfig(
        table.azure.cloud, (table.azure.credential,), table.azure.ca_file, table.azure.subscriptions
    )


def test_the_reference_page_is_true() -> None:
    """docs/configuration.md holds exactly the reference made from the table (UPDATE_DOCS=1 writes it)."""
    path = ROOT / "docs" / "configuration.md"
    before, _, rest = path.read_text().partition("do not edit) -->\n")
    _, end, after = rest.partition("<!-- keys:end -->")
    wanted = f"{before}do not edit) -->\n\n{schema.reference()}\n{end}{after}"
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(wanted)
    assert end and path.read_text() == wanted


def test_a_certificate_lies_beside_the_file_that_names_it(place: Place) -> None:
    """Its path starts at the settings' folder, alone and in a pool; the tenant of a flag is text, whatever it looks like."""
    form = "{client_certificate: {tenant_id: t, client_id: c, path: sp.pem}}"
    place.own.write_text(f"azure:\n  credential: [cli, {form}]\n")
    found, _ = place.load(flags={"azure.tenant": "123"})
    assert found.azure.credential[1]["client_certificate"]["path"] == str(place.own.parent / "sp.pem")  # type: ignore[index,call-overload]
    assert found.azure.tenant == "123"
