"""The pages of a desk, served on a port of their own; and the browser to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest
from anyio.abc import TaskStatus

from codex_control_plane_mcp.doors.web.door import WebDoor
from tests.desk.reception import Reception


@dataclass
class Served:
    """A door that is open."""

    door: WebDoor
    #: The address of the first page.
    base: str
    #: Have the worker leave.
    leave: Callable[[], None]

    async def link(self) -> str:
        return await self.door.link()


@asynccontextmanager
async def served(at: Reception, *, asks: bool = True) -> AsyncIterator[Served]:
    """With `asks`, somebody has asked for a link, as `open` does."""
    async with anyio.create_task_group() as tasks:
        door = WebDoor(at.desk)
        serving = await tasks.start(_serve, door)
        base = (await door.link()).partition("enter?")[0] if asks else ""
        yield Served(door, base, serving.cancel)
        tasks.cancel_scope.cancel()


async def _serve(door: WebDoor, *, task_status: TaskStatus[anyio.CancelScope]) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            await tasks.start(door.serve)
            task_status.started(scope)


def chromium() -> str:
    """The browser of the machine; where there is none the test is skipped, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            raise RuntimeError("chromium is needed here: `apt-get install chromium`")
        pytest.skip("there is no chromium on this machine")
    return found
