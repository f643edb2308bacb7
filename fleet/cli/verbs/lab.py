"""The verb that serves a pretend Azure: lab."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from fleet.cli.terminal import emit, run_loop, say
from fleet.errors import ExitCode
from fleet.report.words import plural


@click.group()
def lab() -> None:
    """Serve a pretend Azure on this machine.

    It speaks Azure's own protocol on loopback, and its Linux guests really run scripts, each in a sandbox of its own.
    """


@lab.command(
    epilog="""\b
Examples:
  fleet lab up                      the default lab, on a free port
  fleet lab up my-lab.yaml --port 8080
  fleet lab up --tls
  fleet run playbooks/linux-health.yaml --lab=http://127.0.0.1:8080 -y
"""
)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 takes a free one.")
@click.option("--tls", is_flag=True, help="Serve TLS with a certificate made for the occasion.")
@click.option("-q", "--quiet", count=True, help="Print the URL and nothing else.")
def up(file: str | None, port: int, tls: bool, quiet: int) -> int:
    """Serve the lab of FILE until interrupted. The first line printed is its URL."""
    from fleet.app.connect import DEFAULT_LAB

    run_loop(_serve, file or DEFAULT_LAB, port, tls, quiet)
    return ExitCode.OK


@lab.command(epilog="\b\nExamples:\n  fleet lab check my-lab.yaml\n")
@click.argument("file")
def check(file: str) -> int:
    """Check a lab file for every mistake at once."""
    from fleet.app.connect import lab_spec

    spec = lab_spec(file)
    say(f"{file}: {plural(len(spec.subscriptions), 'subscription')}: valid")
    return ExitCode.OK


async def _serve(file: str, port: int, tls: bool, quiet: int) -> None:
    import anyio

    from fleet.app.connect import serve_lab

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as interrupts:
        async with serve_lab(file, port=port, tls=tls) as served:
            emit(served.url)
            for note in served.notes:
                say(f"note: {note}", quiet=quiet)
            if served.ca_file:
                say(f"certificate authority: {Path(served.ca_file)} (azure.ca_file)", quiet=quiet)
            say(f"use it with --lab={served.url}; interrupt to end it", quiet=quiet)
            await anext(interrupts)
