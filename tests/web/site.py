"""The pages of a desk, served on a port of their own; and the browser to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from codex_control_plane_mcp.doors.web.door import WebDoor
from tests.desk.reception import Reception


@dataclass
class Served:
    """A door that is open."""

    door: WebDoor
    #: The address of the first page.
    base: str
    first_link: str

    async def link(self) -> str:
        return await self.door.link()


@asynccontextmanager
async def served(at: Reception) -> AsyncIterator[Served]:
    async with anyio.create_task_group() as tasks:
        door = WebDoor(at.desk)
        await tasks.start(door.serve)
        link = await door.link()
        yield Served(door, link.partition("enter?")[0], link)
        tasks.cancel_scope.cancel()


def chromium() -> str:
    """The browser of the machine; where there is none the test is skipped, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            raise RuntimeError("chromium is needed here: `apt-get install chromium`")
        pytest.skip("there is no chromium on this machine")
    return found
