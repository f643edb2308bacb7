"""Signing in through the real command line, over TLS: what is refused is one sentence, exit 7, soon, and keeps secrets."""

from __future__ import annotations

import json
import os
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fleet.clock import wall_time
from tests.patience import stretched
from tests.system.cli import Done, Machine
from tests.system.proxy import proxy_up

pytestmark = pytest.mark.slow

SECRET = "hunter2-and-more~very.secret"
CLIENT = "00000000-0000-4000-8000-000000000001"
SOON = 5.0
"""Seconds, on a machine with nothing else to do."""

LAB = """
apiVersion: fleet/v1
kind: Lab
subscriptions:
  - name: prod
    groups: [{name: rg-web, vms: [{name: web1, guest: scripted}]}]
"""


@dataclass(frozen=True)
class Secured:
    """A lab over TLS, its authority and tenant."""

    url: str
    ca_file: str
    tenant: str

    def fault(self, **rule: object) -> None:
        body = json.dumps([rule] if rule else []).encode()
        trust = ssl.create_default_context(cafile=self.ca_file)
        request = urllib.request.Request(f"{self.url}/lab/faults", body, method="POST")
        urllib.request.urlopen(request, context=trust).close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """One lab for all tests here."""
    place = Machine(tmp_path_factory.mktemp("secured"))
    (place.cwd / "lab.yaml").write_text(LAB)
    process = place.start("lab", "up", "lab.yaml", "--tls")
    assert process.stdout is not None and process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        ca_file = next(found[1] for line in process.stderr if (found := re.search(r"authority: (\S+)", line)))
        with urllib.request.urlopen(f"{url}/", context=ssl.create_default_context(cafile=ca_file)) as answer:
            yield Secured(url, ca_file, json.load(answer)["tenant"])
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def secured(running: Secured) -> Iterator[Secured]:
    yield running
    running.fault()


def config(lab: Secured, *, manager: str = "", authority: str = "", ca_file: str | None = "", **more: str) -> str:
    """Settings that sign in with a client's secret; ``credential`` replaces it."""
    secret = f"{{client_secret: {{tenant_id: {lab.tenant}, client_id: {CLIENT}, secret_env: SP_SECRET}}}}"
    cloud = f"{{resource_manager: {manager or lab.url}, authority: {authority or lab.url}}}"
    trusted = lab.ca_file if ca_file == "" else ca_file
    lines = [f"cloud: {cloud}", f"credential: {more.pop('credential', secret)}", f"ca_file: {trusted or 'null'}"]
    return "azure:\n" + "".join(f"  {line}\n" for line in (*lines, *(f"{key}: {more[key]}" for key in more)))


def ask(machine: Machine, settings: str, *flags: str, **env: str) -> Done:
    """Ask for every VM, as loudly as can be."""
    (machine.cwd / "config.yaml").write_text(settings)
    return machine.run("targets", "all", "-o", "names", "-vvv", *flags, env={"SP_SECRET": SECRET, **env})


def refused(machine: Machine, settings: str, *flags: str, **env: str) -> str:
    """Ask, be refused as promised, and return the sentence and its hint."""
    begun = time.monotonic()
    done = ask(machine, settings, *flags, **env)
    took = time.monotonic() - begun
    assert (done.code, done.out) == (7, ""), done.err
    assert took < stretched(SOON)
    for place in (
        done.err,
        *(path.read_text(errors="replace") for path in machine.written() if path.suffix != ".yaml"),
    ):
        assert SECRET not in place and "eyJ" not in place
    told = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, done.err
    return done.err[done.err.index("error: ") :]


def test_a_client_secret_signs_in_over_tls(machine: Machine, secured: Secured) -> None:
    """With a custom cloud, a private authority and a service principal the VMs are found; no secret shows at -vvv."""
    done = ask(machine, config(secured))
    assert (done.code, done.out) == (0, "web1\n"), done.err
    assert SECRET not in done.err and "eyJ" not in done.err


def test_a_certificate_signs_in(machine: Machine, secured: Secured) -> None:
    """A PEM file beside the settings, its key encrypted, is found and used; the password shows nowhere."""
    (machine.cwd / "sp.pem").write_bytes(certificate(b"pass-phrase-1"))
    form = f"{{tenant_id: {secured.tenant}, client_id: {CLIENT}, path: sp.pem, password_env: SP_PASSWORD}}"
    settings = config(secured, credential=f"{{client_certificate: {form}}}")
    done = ask(machine, settings, SP_PASSWORD="pass-phrase-1")
    assert (done.code, done.out) == (0, "web1\n"), done.err
    assert "pass-phrase-1" not in done.err
    told = refused(machine, settings, SP_PASSWORD="other-phrase")
    assert "client_certificate" in told and "other-phrase" not in told


IN_ENVIRONMENT = {"AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}


@pytest.mark.parametrize("form", ["environment", "default", "workload_identity", "cli", "managed_identity"])
def test_each_form_signs_in(machine: Machine, secured: Secured, form: str) -> None:
    """With what its own documentation asks for and nothing else, each form of the settings finds the VMs."""
    (machine.cwd / "federated").write_text("a.federated.token")
    az = machine.home / "az"
    kept = {"accessToken": "eyJ.from-az", "expires_on": int(wall_time()) + 3600, "tenant": secured.tenant}
    az.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(kept)}\nEND\n")
    az.chmod(0o700)
    with identity_endpoint() as endpoint:
        given = {
            "environment": {**IN_ENVIRONMENT, "AZURE_TENANT_ID": secured.tenant},
            "default": {**IN_ENVIRONMENT, "AZURE_TENANT_ID": secured.tenant},
            "workload_identity": {
                "AZURE_CLIENT_ID": CLIENT,
                "AZURE_TENANT_ID": secured.tenant,
                "AZURE_FEDERATED_TOKEN_FILE": str(machine.cwd / "federated"),
            },
            "cli": {"PATH": f"{machine.home}:{os.environ['PATH']}"},
            "managed_identity": {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": "of-the-app"},
        }
        done = ask(machine, config(secured, credential=form), **given[form])
    assert (done.code, done.out) == (0, "web1\n"), done.err
    assert SECRET not in done.err and "eyJ" not in done.err


GIVEN = {
    "FLEET_VAR_token": "fleet-var-secret",
    "GATE_TOKEN": "gate-secret-value",
    "SP_PASSWORD": "pass-phrase-secret",
    "AZURE_CLIENT_SECRET": "azure-client-secret",
    "AZURE_OTHER": "sp-value-by-another-name",
    "AWS_SECRET_ACCESS_KEY": "of-somebody-else",
}
NEEDED = {
    "AZURE_CONFIG_DIR": "/home/of/az",
    "AZURE_CORE_OUTPUT": "json",
    "no_proxy": "127.0.0.1",
    "REQUESTS_CA_BUNDLE": "/etc/bundle.pem",
    "LC_ALL": "C.UTF-8",
}


@pytest.mark.parametrize("form", ["cli", "default", "[cli, {client_secret: POOLED}]"])
def test_az_gets_no_secret_of_ours(machine: Machine, secured: Secured, form: str) -> None:
    """Of all variables az gets those that it needs; neither parameters, tokens of gates nor what settings name as secret."""
    seen = machine.home / "seen"
    kept = json.dumps({"accessToken": "eyJ.from-az", "expires_on": int(wall_time()) + 3600})
    (machine.home / "az").write_text(f"#!/bin/sh\nenv >>{seen}\necho '{kept}'\n")
    (machine.home / "az").chmod(0o700)
    pooled = f"{{tenant_id: {secured.tenant}, client_id: {CLIENT}, secret_env: AZURE_OTHER}}"
    settings = config(secured, credential=form.replace("POOLED", pooled))
    path = {"PATH": f"{machine.home}:{os.environ['PATH']}"}
    done = ask(machine, settings, **{**GIVEN, **NEEDED, **path})
    assert (done.code, done.out) == (0, "web1\n"), done.err
    lines = dict(line.split("=", 1) for line in seen.read_text().splitlines())
    text = seen.read_text()
    wanted = {**NEEDED, "HOME": str(machine.home), **path}
    assert {name: lines.get(name) for name in wanted} == wanted
    secrets = {**GIVEN, "SP_SECRET": SECRET}
    hidden = {name: value for name, value in secrets.items() if name != "AZURE_OTHER" or "POOLED" in form}
    assert not [name for name, value in hidden.items() if name in lines or value in text]


def test_az_has_no_terminal_and_not_our_folder(machine: Machine, secured: Secured) -> None:
    """It can ask nothing, and loads nothing from the folder that somebody works in."""
    seen = machine.home / "seen"
    (machine.home / "az").write_text(f'#!/bin/sh\npwd >{seen}; cat >>{seen}; echo "$@" >>{seen}\nexit 1\n')
    (machine.home / "az").chmod(0o700)
    refused(machine, config(secured, credential="cli"), PATH=f"{machine.home}:{os.environ['PATH']}")
    assert (
        seen.read_text()
        == f"{Path('/bin').resolve()}\naccount get-access-token --output json --resource {secured.url}\n"
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo \"Please run 'az login' to setup account.\" >&2; exit 1", "error: not signed in to Azure [no_token]"),
        ("echo 'AADSTS700082: expired, az login' >&2; exit 1", "AADSTS700082"),
        ("echo 'eyJ.secret-of-a-token'", "az did not answer with a token"),
        ("exit 3", "az ended with exit code 3 and said nothing"),
        ("exec /nonexistent/program", "not signed in to Azure: the Azure CLI (az) is not on the PATH"),
    ],
)
def test_what_az_says_is_one_sentence(machine: Machine, secured: Secured, script: str, told: str) -> None:
    """Not signed in, refused by Entra, another answer, none: a sentence and a hint, and never what it printed."""
    (machine.home / "az").write_text(f"#!/bin/sh\n{script}\n")
    (machine.home / "az").chmod(0o700)
    said = refused(machine, config(secured, credential="cli"), PATH=f"{machine.home}:{os.environ['PATH']}")
    assert told in said and "[no_token]" in said and "hint: " in said


def test_the_last_way_to_sign_in_says_why_it_failed(machine: Machine) -> None:
    """Of all ways that the default tries, the sentence is about az, and not a list of the others."""
    (machine.cwd / "bin").mkdir()
    (machine.cwd / "bin" / "az").write_text("#!/bin/sh\nexit 3\n")
    (machine.cwd / "bin" / "az").chmod(0o700)
    done = machine.run("targets", "all", env={"PATH": str(machine.cwd / "bin")})
    assert done.code == 7
    error, _ = done.err.splitlines()
    assert error == "error: not signed in to Azure: az ended with exit code 3 and said nothing [no_token]"


@pytest.mark.parametrize(
    ("credential", "told", "hint"),
    [
        ("default", "not signed in to Azure: the Azure CLI (az) is not on the PATH", "run `az login`"),
        ("cli", "not signed in to Azure: the Azure CLI (az) is not on the PATH", "run `az login`"),
        (
            "managed_identity",
            "not signed in to Azure: no managed identity answers on this machine",
            "give this machine",
        ),
        (
            "environment",
            "not signed in to Azure: the environment does not hold a whole credential",
            "set AZURE_TENANT_ID",
        ),
        (
            "workload_identity",
            "not signed in to Azure: the environment does not hold a workload identity",
            "set AZURE_",
        ),
    ],
)
def test_nothing_to_sign_in_with_is_one_sentence(
    machine: Machine, tmp_path: Path, credential: str, told: str, hint: str
) -> None:
    """Two lines: what is missing and what to do. What the library logs about each way is shown with -v only."""
    (machine.cwd / "config.yaml").write_text(f"azure: {{credential: {credential}}}\n")
    empty = tmp_path / "bin"
    empty.mkdir()
    done = machine.run("targets", "all", env={"PATH": str(empty)})
    assert (done.code, done.out) == (7, "")
    error, advice = done.err.splitlines()
    assert error == f"error: {told} [no_token]"
    assert advice.startswith(f"  hint: {hint}")
    assert "--lab" in advice or credential not in ("default", "cli")
    loud = machine.run("targets", "all", "-v", env={"PATH": str(empty)})
    assert "library_said" in loud.err or credential != "default"


def test_a_sign_in_service_that_cannot_be_reached_is_one_sentence(machine: Machine) -> None:
    """Its host is named, and what to check; nothing of the library's own words."""
    form = "{tenant_id: 11111111-1111-4111-8111-111111111111, client_id: c, secret_env: SP_SECRET}"
    cloud = "{resource_manager: 'http://127.0.0.1:1', authority: 'https://login.invalid'}"
    (machine.cwd / "config.yaml").write_text(f"azure: {{credential: {{client_secret: {form}}}, cloud: {cloud}}}\n")
    done = machine.run("targets", "all", env={"SP_SECRET": SECRET})
    assert done.code == 7
    assert done.err.startswith("error: the sign-in service login.invalid cannot be reached [no_token]\n  hint: check")


@contextmanager
def identity_endpoint() -> Iterator[str]:
    """The token endpoint of an application's managed identity (documented: IDENTITY_ENDPOINT)."""

    class Identity(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["X-IDENTITY-HEADER"] == "of-the-app"
            ends = str(int(wall_time()) + 3600)
            body = json.dumps({"access_token": "eyJ.managed", "expires_on": ends, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Identity) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token"
        finally:
            server.shutdown()
            serving.join()


def test_a_certificate_file_that_is_not_there_is_named(machine: Machine, secured: Secured) -> None:
    """Its path and what it should hold are told before anything is asked of Azure."""
    form = f"{{tenant_id: {secured.tenant}, client_id: {CLIENT}, path: none.pem}}"
    told = refused(machine, config(secured, credential=f"{{client_certificate: {form}}}"))
    assert "none.pem of azure.credential cannot be read: No such file" in told
    assert "hint: it is a PEM or PKCS12 file" in told


def test_wrong_credentials(machine: Machine, secured: Secured) -> None:
    """A secret that Entra refuses is its own sentence, without trace ids, and says what to give instead."""
    secured.fault(request="sign_in", kind=401)
    told = refused(machine, config(secured))
    assert "AADSTS7000215: Invalid client secret provided" in told and "Trace ID" not in told
    assert "hint: give the secret's value, not its id" in told


@pytest.mark.parametrize("where", ["credential", "flag"])
def test_a_wrong_tenant(machine: Machine, secured: Secured, where: str) -> None:
    """A tenant that does not exist is named, whether the credential or --tenant asks for it."""
    other = "99999999-9999-4999-8999-999999999999"
    settings = config(secured)
    if where == "credential":
        told = refused(machine, settings.replace(secured.tenant, other))
    else:
        told = refused(machine, settings, "--tenant", other)
    assert other in told
    assert "--tenant" in told


def test_no_rights(machine: Machine, secured: Secured) -> None:
    """A principal that may read nothing hears Azure's reason and the role it lacks."""
    secured.fault(request="list", kind=403)
    told = refused(machine, config(secured))
    assert "AuthorizationFailed" in told and "Reader role" in told


def test_a_proxy_with_an_authority_of_its_own(machine: Machine, secured: Secured, tmp_path: Path) -> None:
    """Untrusted, it is one sentence that names azure.ca_file; trusted by it, signing in and asking go through it."""
    with proxy_up(tmp_path / "proxy", secured.url, secured.ca_file) as proxy:
        hosts = {"manager": "https://arm.example", "authority": "https://login.example"}
        told = refused(machine, config(secured, ca_file=None, **hosts), HTTPS_PROXY=proxy.url)
        assert "authority that is not trusted" in told and "azure.ca_file" in told
        done = ask(machine, config(secured, ca_file=str(proxy.ca_file), **hosts), HTTPS_PROXY=proxy.url)
    assert (done.code, done.out) == (0, "web1\n"), done.err
    assert {"arm.example:443", "login.example:443"} <= set(proxy.tunnels)


def test_an_untrusted_service_is_told_from_an_absent_one(machine: Machine, secured: Secured, tmp_path: Path) -> None:
    """Where a token is at hand and only Resource Manager's certificate is not trusted, the hint is the same."""
    with proxy_up(tmp_path / "proxy", secured.url, secured.ca_file) as proxy:
        settings = config(secured, manager="https://arm.example", ca_file=None, credential="{token_env: TOKEN}")
        told = refused(machine, settings, HTTPS_PROXY=proxy.url, TOKEN="a.b.c")
    assert "hint: set azure.ca_file" in told


def certificate(password: bytes) -> bytes:
    """A self-signed certificate and its encrypted key, as one PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fleet test")])
    start = datetime.fromtimestamp(wall_time(), UTC) - timedelta(minutes=5)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    return private + made.public_bytes(serialization.Encoding.PEM)
