"""Every other way in which a secret is given: it reaches whom it is for, and no byte that is written."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.system.cli import Machine
from tests.system.test_secrets import Watch, canary_in, modes, tls_lab
from tests.system.test_sign_in import CLIENT, certificate
from tests.system.test_webhook_gates import GO, hook

CANARIES = {
    "the password of run_as": 'kanari "run\\as" %41+& ß 90c1',
    "a named parameter": "kanari-named/=+'$(x) é 77ab",
    "the address of a script": "kanari-address-4f1e~90",
    "the token of a gate": "kanari.gate.t0ken-33d0",
    "the password of a certificate": "kanari-certificate-b17e phrase",
}
LAB = """\
apiVersion: fleet/v1
kind: Lab
speed: 200
rules: [{stdout: "{name} is done\\n", duration: [20, 40]}]
subscriptions:
  - {name: prod, groups: [{name: rg, vms: [{name: "web{n:02}", count: 2, guest: scripted}]}]}
"""
PLAY = """\
apiVersion: fleet/v1
kind: Playbook
metadata: {name: secretive, version: 1.0.0}
parameters:
  password: {type: string, secret: true}
  named: {type: string, secret: true}
  address: {type: string, secret: true}
  sas: {type: string, secret: true}
targets: {subscriptions: [all]}
rollout:
  waves: [1]
  slow_start: false
  gates: [{before_wave: 2, webhook: {url: "HOOK", token_env: GATE_TOKEN, timeout: 30s}}]
steps:
  - id: wrapped
    run: {inline: echo wrapped}
    run_as: {user: azureuser, password: "{{ params.password }}"}
    output:
      stdout_blob: "BLOBS/{{ target.name }}.out?{{ params.sas }}"
      stderr_blob: "BLOBS/{{ target.name }}.err?{{ params.sas }}"
  - id: downloaded
    run: {uri: "https://scripts.example/hello.sh?key={{ params.address }}"}
    parameters: {TOKEN: "{{ params.named }}"}
"""
FORMS = ("json", "jsonl", "csv", "md", "junit", "html")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to see command lines")
def test_no_other_secret_input_is_in_any_byte(machine: Machine, tmp_path: Path) -> None:
    """Passwords, protected parameters, signed addresses, a gate's token, a certificate's password: none is written."""
    log = tmp_path / "lab.log"
    lab_file = tmp_path / "lab.yaml"
    lab_file.write_text(LAB)
    given = dict(zip(("PASSWORD", "NAMED", "ADDRESS", "GATE_TOKEN", "SP_PASSWORD"), CANARIES.values(), strict=True))
    with tls_lab(machine, log, lab_file) as (url, authority, tenant), hook(lambda n: GO) as gate, Watch() as watch:
        trust = ssl.create_default_context(cafile=authority)
        with urllib.request.urlopen(f"{url}/lab/sas?container=logs/runs", context=trust) as answer:
            blobs = json.loads(answer.read())
        (machine.cwd / "sp.pem").write_bytes(certificate(CANARIES["the password of a certificate"].encode()))
        (machine.cwd / "config.yaml").write_text(
            f"azure:\n  cloud: {{resource_manager: '{url}', authority: '{url}', audience: '{url}'}}\n"
            f"  ca_file: {authority}\n  credential:\n    client_certificate:\n"
            f"      {{tenant_id: {tenant}, client_id: {CLIENT}, path: sp.pem, password_env: SP_PASSWORD}}\n"
        )
        at = f"http://127.0.0.1:{gate.server_port}/gate"
        (machine.cwd / "play.yaml").write_text(PLAY.replace("HOOK", at).replace("BLOBS", blobs["container"]))
        env = {**given, "SAS": blobs["sas"], "REQUESTS_CA_BUNDLE": authority}
        values = [f"-e{name}=env:{name.upper()}" for name in ("password", "named", "address", "sas")]
        reports = [f"--report={form}=report.{form}" for form in FORMS]
        done = machine.run("run", "play.yaml", "-y", "-vvv", "-o", "json", *values, *reports, env=env)
        shown = [
            machine.run(*words, "-vvv") for words in (("show", "last", "--all"), ("output", "last"), ("verify", "last"))
        ]
    rows = done.report["jobs"]
    assert {(row["step"], row["attempts"]) for row in rows} == {("wrapped", 1), ("downloaded", 1)}, done.err
    assert {row["status"] for row in rows if row["step"] == "wrapped"} == {"succeeded"}, (
        "the lab knows no scripts.example"
    )
    assert gate.heard and gate.heard[0][0] == f"Bearer {CANARIES['the token of a gate']}"
    assert "azure_request" in done.err
    signature = parse_qs(blobs["sas"])["sig"][0]
    places = {"stdout": done.out, "stderr": done.err, "lab": log.read_text()}
    data = {name: text.encode() for name, text in places.items()}
    data |= {f"later {number}": (said.out + said.err).encode() for number, said in enumerate(shown)}
    data |= {str(path): path.read_bytes() for path in machine.written()}
    data |= {repr(line): line for line in watch.seen}
    found = {
        (place, value)
        for place, content in data.items()
        for value in (*CANARIES.values(), signature)
        if canary_in(content, value)
    }
    assert found == set()
    assert modes(machine) == set()
