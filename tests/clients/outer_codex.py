"""Codex as a client of ours: an app-server of a person's, with our server added by `codex mcp add`.

The Codex that carries out what it hands to us is another one, with a CODEX_HOME of its own.
"""

import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from codex_control_plane_mcp.doors.cli.clients import CLIENTS, ByCommand, Entry, Name
from codex_control_plane_mcp.rpc.peer import Peer, RequestId
from codex_control_plane_mcp.rpc.stdio import running_child
from codex_control_plane_mcp.rpc.values import Json
from codex_control_plane_mcp.scripted_model.home import write_codex_home
from tests.e2e.stage import SOON_SECONDS, Stage

CODEX = str(pytest.importorskip("codex_cli_bin").bundled_codex_path())
SERVER = "codex-control-plane"
#: As Codex lists our tools to its model.
NAMESPACE = "mcp__codex_control_plane"

Answer = dict[str, Any]
T = TypeVar("T")


def entry(stage: Stage) -> Entry:
    """What a client is told of the server of this stage."""
    ours = {name: value for name, value in stage.environ.items() if name.startswith("CODEX_")}
    command = shutil.which("codex-control-plane-mcp", path=str(Path(sys.executable).parent))
    assert command is not None
    return Entry(command, ours)


@dataclass
class OuterCodex:
    """A conversation with the outer app-server."""

    peer: Peer
    stage: Stage
    heard: defaultdict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[RequestId, Answer]] = field(default_factory=list)
    _news: anyio.Event = field(default_factory=anyio.Event)

    def hear(self, method: str, params: Json) -> None:
        assert isinstance(params, dict)
        self.heard[method].append(params)
        self._ring()

    def be_asked(self, request_id: RequestId, method: str, params: Json) -> None:
        assert isinstance(params, dict)
        assert method == "mcpServer/elicitation/request"
        self.asked.append((request_id, params))
        self._ring()

    async def call(self, method: str, **params: Any) -> Answer:
        answer = await self.peer.request(method, params, timeout_seconds=2 * SOON_SECONDS)
        assert isinstance(answer, dict)
        return answer

    async def tool(self, thread_id: str, tool: str, **arguments: object) -> Answer:
        """The structured result of a tool of ours, called without the model."""
        answer = await self.call(
            "mcpServer/tool/call",
            threadId=thread_id,
            server=SERVER,
            tool=tool,
            arguments=arguments,
        )
        structured: Answer = answer["structuredContent"]
        assert structured["ok"], structured
        return structured

    async def thread(self, approval_policy: str) -> str:
        """A new thread, to which our server is connected."""
        started = await self.call(
            "thread/start", cwd=str(self.stage.project), approvalPolicy=approval_policy
        )
        thread_id = str(started["thread"]["id"])
        # Codex does not wait for a server: a turn before this has none of its tools.
        ready = {"name": SERVER, "threadId": thread_id, "status": "ready"}
        await self._told("mcpServer/startupStatus/updated", **ready)
        return thread_id

    @asynccontextmanager
    async def turn(self, thread_id: str, prompt: str) -> AsyncIterator[None]:
        """A turn that runs meanwhile; it has ended well at the end."""
        said = [{"type": "text", "text": prompt}]
        await self.call("turn/start", threadId=thread_id, input=said)
        yield
        await self.says(thread_id)

    async def says(self, thread_id: str) -> str:
        """What its model says at the end of the turn."""
        turn = (await self._told("turn/completed", threadId=thread_id))["turn"]
        assert turn["status"] == "completed", turn["error"]
        return str(turn["items"][-1]["text"])

    async def question(self) -> tuple[RequestId, Answer]:
        """The first form that it puts to its user."""
        return await self._until(lambda: next(iter(self.asked), None))

    async def begins(self, tool: str) -> None:
        """Its model calls a tool of ours."""
        await self._item("item/started", tool)

    async def calls(self, tool: str) -> Answer:
        """The structured result of that."""
        structured: Answer = (await self._item("item/completed", tool))["result"][
            "structuredContent"
        ]
        return structured

    async def _item(self, method: str, tool: str) -> Answer:
        wanted = {"type": "mcpToolCall", "tool": tool}

        def found() -> Answer | None:
            items = (said["item"] for said in self.heard[method])
            return next((item for item in items if wanted.items() <= item.items()), None)

        return await self._until(found)

    async def _told(self, method: str, **wanted: object) -> Answer:
        """The first notification of this method with these fields."""

        def found() -> Answer | None:
            return next((one for one in self.heard[method] if wanted.items() <= one.items()), None)

        return await self._until(found)

    async def _until(self, found: Callable[[], T | None]) -> T:
        with anyio.fail_after(2 * SOON_SECONDS):
            while (one := found()) is None:
                await self._news.wait()
            return one

    def _ring(self) -> None:
        self._news.set()
        self._news = anyio.Event()


@asynccontextmanager
async def outer_codex(stage: Stage) -> AsyncIterator[OuterCodex]:
    home = write_codex_home(stage.root / "outer", stage.model.base_url)
    env = {name: stage.environ[name] for name in ("PATH", "HOME")} | {"CODEX_HOME": str(home)}
    client = CLIENTS[Name.CODEX]
    assert isinstance(client, ByCommand)
    await anyio.run_process([CODEX, *client.add(entry(stage))], env=env, stderr=subprocess.STDOUT)
    async with running_child([CODEX, "app-server"], env) as wire:
        peer = Peer(wire)
        codex = OuterCodex(peer, stage)
        async with peer.running(codex.hear, codex.be_asked):
            named = {"name": "tests", "title": "Tests", "version": "1"}
            await codex.call("initialize", clientInfo=named, capabilities={"experimentalApi": True})
            await peer.notify("initialized")
            yield codex
