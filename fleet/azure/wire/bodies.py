"""What a run command's body holds, action and managed: every property of both, from one command."""

from __future__ import annotations

import math
import shlex

from fleet.azure.wire.http import Json
from fleet.playbook.model import Identity
from fleet.run.answers import Command
from fleet.targets.model import Kind, Os, kind_of

PROVISIONING_LIMIT = 90 * 60
"""Seconds that provisioning, and so a command that is not asynchronous, may last (documented, recorded)."""


def action(command: Command) -> Json:
    """Build ``RunCommandInput``. On Linux the values become positional arguments in order, whatever their
    names.
    """
    built_in = "RunPowerShellScript" if command.target.os is Os.WINDOWS else "RunShellScript"
    body: dict[str, Json] = {"commandId": command.command_id or built_in}
    if not command.command_id:
        body["script"] = list(command.script.split("\n"))
    named = [_parameter(name, value) for name, value in command.parameters.items()]
    # Azure's CLI names bare values arg1, arg2 ... (recorded); the name is required (REST spec).
    bare = [_parameter(f"arg{number}", value) for number, value in enumerate(command.args, start=1)]
    if named or bare:
        body["parameters"] = [*named, *bare]
    return body


def managed(command: Command) -> dict[str, Json]:
    """Build the properties of a managed command; what the command does not name is left out.

    A change (PATCH) of a standing command holds what is named as off or empty, too: what is left out stays as it was.
    A command that may outlast provisioning's 90 minutes is asked for as asynchronous, as documented for long
    runs: provisioning then ends when the script starts, and the instance view alone tells of its end.
    """
    arc = kind_of(command.target.id) is Kind.ARC
    change = command.update and not arc
    properties: dict[str, Json] = {"source": _source(command)}
    long = command.timeout > PROVISIONING_LIMIT
    if command.asynchronous is not None or long or not change:
        properties["asyncExecution"] = long if command.asynchronous is None else command.asynchronous
    parameters = [_parameter(name, value) for name, value in command.parameters.items()]
    parameters += [_parameter("", value) for value in _arguments(command)]
    optional: dict[str, Json] = {
        "parameters": parameters,
        "protectedParameters": [_parameter(name, value) for name, value in command.protected.items()],
        "runAsUser": command.run_as,
        "runAsPassword": command.run_as_password,
        "timeoutInSeconds": math.ceil(command.timeout),
    }
    properties |= {name: value for name, value in optional.items() if value}
    if change and command.no_parameters:
        properties |= {"parameters": parameters, "protectedParameters": optional["protectedParameters"]}
    if command.fail_deployment is not None and not arc:  # Arc does not know it (REST spec); true is refused before
        properties["treatFailureAsDeploymentFailure"] = command.fail_deployment
    return properties | _blobs(command)


def _blobs(command: Command) -> dict[str, Json]:
    """Name the append blob of each stream, and who writes it where its address is not signed."""
    found: dict[str, Json] = {}
    for stream, uri, identity in (
        ("output", command.stdout_blob, command.stdout_identity),
        ("error", command.stderr_blob, command.stderr_identity),
    ):
        if uri:
            found[f"{stream}BlobUri"] = uri
            if identity is not None:
                found[f"{stream}BlobManagedIdentity"] = _identity(identity)
    return found


def _source(command: Command) -> Json:
    source: dict[str, Json] = {}
    if command.command_id:
        source["commandId"] = command.command_id
    elif command.gallery:
        source["galleryScriptReferenceId"] = command.gallery
    elif command.uri:
        source["scriptUri"] = command.uri
        if command.identity is not None:
            source["scriptUriManagedIdentity"] = _identity(command.identity)
    else:
        source["script"] = command.script
    if command.powershell7:
        source["scriptShell"] = "Powershell7"
    return source


def _identity(identity: Identity) -> Json:
    """Name a managed identity; an empty object is the VM's own (documented)."""
    ids: dict[str, Json] = {"clientId": identity.client_id, "objectId": identity.object_id}
    return {name: value for name, value in ids.items() if value}


def _arguments(command: Command) -> list[str]:
    """Quote positional arguments for Linux, whose handler pastes them into a bash command line (handler
    source).
    """
    if command.target.os is Os.WINDOWS:
        return list(command.args)
    return [shlex.quote(value) for value in command.args]


def _parameter(name: str, value: str) -> Json:
    return {"name": name, "value": value}
