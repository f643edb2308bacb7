"""What a managed command runs: its script, wherever that is kept, with parameters, user and time limit. Pure."""

from __future__ import annotations

from fleet.lab.world import builtins
from fleet.lab.world.blobs import Blobs
from fleet.lab.world.commands import Command
from fleet.lab.world.machine_spec import System
from fleet.lab.world.scripted import NO_BLOB, NO_DOWNLOAD, NO_SCRIPT, Result, Script, named

_FOLDER = "/var/lib/waagent/run-command-handler/download"
_WINDOWS_FOLDER = "/c/Packages/Plugins/Microsoft.CPlat.Core.RunCommandHandlerWindows/Downloads"


def prepare(command: Command, blobs: Blobs) -> Script | Result:
    """Find the script of a managed command and begin its blobs; a result says why there is none to run."""
    text = _source(command, blobs)
    if isinstance(text, Result):
        return text
    system = command.machine.system
    if why := next(filter(None, (blobs.begin(command.properties, s, system) for s in ("output", "error"))), ""):
        return Result(NO_BLOB, message=why)
    values = command.parameters()
    user = command.text("runAsUser")
    root = f"/home/{user}/waagent/run-command-handler-runas/download" if user else _FOLDER
    if command.machine.system is System.WINDOWS:
        root = _WINDOWS_FOLDER
    return Script(
        text,
        f"{root}/{command.name}/{command.sequence}",
        " ".join(value for name, value in values if not name),
        {name: value for name, value in values if name},
        user,
        command.limit,
        str(command.source.get("scriptShell", "")),
        named(values),
    )


def _source(command: Command, blobs: Blobs) -> str | Result:
    source = command.source
    if isinstance(script := source.get("script"), str) and script:
        return script
    if isinstance(uri := source.get("scriptUri"), str) and uri:
        found = blobs.fetch(uri)
        if found is None:
            return Result(NO_DOWNLOAD, message="failed to download the script: the URI cannot be reached")
        return found.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n")
    if isinstance(gallery := source.get("galleryScriptReferenceId"), str) and gallery:
        kept = blobs.gallery(gallery)
        if kept is None:
            return Result(NO_DOWNLOAD, message="failed to download the script: the gallery has no such version")
        return kept.decode("utf-8", errors="surrogateescape")
    if isinstance(name := source.get("commandId"), str) and (known := builtins.find(name)):
        return "\n".join(known.script)
    return Result(
        NO_SCRIPT,
        message="failed to get configuration: invalid configuration: Either 'source.script' or "
        "'source.scriptUri' has to be specified",
    )
