"""Codex without us: the least that a program can do with an app-server over its socket."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

from codex_control_plane_mcp.codex.record import Record


class Raw:
    """An open connection. It parses every message, and remembers when each thread's turn ended."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ends: dict[str, asyncio.Future[float]] = {}

    async def listen(self) -> None:
        with suppress(ConnectionClosed):
            async for frame in self._socket:
                message = json.loads(frame)
                if "method" not in message:
                    self._answers.pop(message["id"]).set_result(message)
                elif message["method"] == "turn/completed":
                    end = self.end_of(message["params"]["threadId"])
                    if not end.done():
                        end.set_result(time.perf_counter())

    async def call(self, method: str, params: dict[str, object]) -> dict[str, Any]:
        number = next(self._ids)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        told = await answer
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    async def notify(self, method: str) -> None:
        await self._socket.send(json.dumps({"method": method}))

    def end_of(self, thread_id: str) -> asyncio.Future[float]:
        """`time.perf_counter()` of the end of the thread's first turn that is seen to end."""
        if thread_id not in self._ends:
            self._ends[thread_id] = asyncio.get_running_loop().create_future()
        return self._ends[thread_id]

    async def subscribe(self, thread_id: str) -> None:
        await self.call("thread/resume", {"threadId": thread_id, "excludeTurns": True})

    async def start(self, prompt: str, cwd: Path) -> str:
        """A new thread with one turn; the thread's id, once Codex has accepted the turn."""
        wanted = {"cwd": str(cwd), "sandbox": "read-only", "approvalPolicy": "on-request"}
        thread_id: str = (await self.call("thread/start", {**wanted}))["thread"]["id"]
        text = [{"type": "text", "text": prompt}]
        await self.call("turn/start", {"threadId": thread_id, "input": text})
        return thread_id


@asynccontextmanager
async def connected(record: Record) -> AsyncIterator[Raw]:
    """A connection to the app-server that the product uses at this moment."""
    async with _dialled(record) as socket:
        raw = Raw(socket)
        listening = asyncio.create_task(raw.listen())
        info = {"name": "benchmarks", "title": None, "version": "1"}
        capable = {"experimentalApi": True}
        await raw.call("initialize", {"clientInfo": info, "capabilities": capable})
        await raw.notify("initialized")
        yield raw
    await listening


def _dialled(record: Record) -> connect:
    if record.transport == "unix":
        return unix_connect(
            record.address, uri="ws://localhost/", max_size=None, compression=None, proxy=None
        )
    assert record.token_file is not None
    token = Path(record.token_file).read_text(encoding="ascii").strip()
    headers = {"Authorization": f"Bearer {token}"}
    return connect(
        record.address, max_size=None, compression=None, proxy=None, additional_headers=headers
    )
