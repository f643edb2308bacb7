"""Files that are read beside an event loop: pipes, whose writers take their time."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import anyio
import pytest

from fleet.app.threads import in_thread
from fleet.documents.files import read_text
from fleet.errors import InvalidInput


def test_a_pipe_that_is_waited_for_holds_up_no_loop() -> None:
    """The loop goes on meanwhile; here it is the writer. An error of the call is the caller's."""

    async def go() -> str:
        reading, writing = os.pipe()
        async with asyncio.TaskGroup() as tasks:
            text = tasks.create_task(in_thread(read_text, Path(f"/dev/fd/{reading}"), "the playbook"))
            await asyncio.sleep(0)
            os.write(writing, b"kind: Playbook")
            os.close(writing)
        os.close(reading)
        with pytest.raises(InvalidInput, match="does not exist"):
            await in_thread(read_text, Path("/dev/absent"), "the playbook")
        return text.result()

    assert asyncio.run(go()) == "kind: Playbook"


def test_a_caller_that_is_cancelled_does_not_wait_for_the_file() -> None:
    """The call is left to itself, and ends when its pipe does."""

    async def go() -> bool:
        reading, writing = os.pipe()
        with anyio.move_on_after(0.05) as scope:
            await in_thread(read_text, Path(f"/dev/fd/{reading}"), "the playbook")
        for descriptor in (reading, writing):
            os.close(descriptor)
        return scope.cancelled_caught

    assert asyncio.run(go())
