"""A stubborn MCP client: it speaks JSON lines to a pipe of its own, starts the next one when that
dies, and says again whatever was not answered, with the same key.

It is deliberately not the official SDK: an SDK gives up with its process.
"""

import json
from contextlib import aclosing, suppress
from typing import Any

import anyio
import anyio.abc
from anyio.abc import TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from codex_control_plane_mcp.processes import Identity, identity_of
from codex_control_plane_mcp.selftest.real.stage import END_SECONDS, Stage, until

Result = dict[str, Any]

MAX_LINE_BYTES = 1024 * 1024
#: A call that was refused for the moment is made again after this long.
AGAIN_SECONDS = 0.05
#: Between the death of a pipe and its end being seen.
SHORTLY_SECONDS = 0.005
#: Nothing here waits longer for an answer: the longest wait that a call asks for, and some.
ANSWER_SECONDS = 90.0


class Refused(Exception):
    """A tool answered `ok: false`, and calling again would not help."""

    def __init__(self, error: Result) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = str(error.get("code"))


class Unanswered(Exception):
    """No answer came although nothing was killed: the call hangs."""


class _PipeGone(Exception):
    """The pipe ended before it answered."""


class _Call:
    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        #: None: the pipe is gone.
        self.answer: Result | None = None


class Client:
    """One client; many calls at once."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._process: anyio.abc.Process | None = None
        self._up = anyio.Event()
        self._waiting: dict[int, _Call] = {}
        self._last_id = 0
        self._closing = False
        self._sending = anyio.Lock()
        #: How many answers of tools it has got: a sign of life.
        self.answers = 0
        #: How many pipes it has had.
        self.pipes = 0

    @property
    def pipe(self) -> Identity | None:
        """Its pipe's process."""
        return None if self._process is None else identity_of(self._process.pid)

    async def call(self, tool: str, **arguments: object) -> Result:
        """The result, however many pipes it takes. Raises Refused, Unanswered."""
        params = {"name": tool, "arguments": arguments}
        while True:
            try:
                answer = await self._ask("tools/call", params)
            except _PipeGone:
                await anyio.sleep(SHORTLY_SECONDS)
                continue
            result: Result = answer.get("result", {}).get("structuredContent") or {}
            if result.get("ok"):
                self.answers += 1
                return result
            error = result.get("error") or answer.get("error") or {}
            if not error.get("retryable", "result" not in answer):
                self.answers += 1
                raise Refused(error)
            await anyio.sleep(AGAIN_SECONDS)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep a pipe until `close`."""
        task_status.started()
        while not self._closing:
            process = await self._stage.open_pipe()
            self.pipes += 1
            try:
                async with process:
                    self._process = process
                    await self._converse(process)
            finally:
                self._process = None
                self._hang_up()

    async def close(self) -> None:
        """Hang up; the pipe then leaves."""
        self._closing = True
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._process.stdin.aclose()

    # One pipe

    async def _converse(self, process: anyio.abc.Process) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._greet)
            await self._listen(process)
            tasks.cancel_scope.cancel()

    async def _greet(self) -> None:
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "selftest", "version": "1"},
        }
        with suppress(_PipeGone):
            while True:
                answer = await self._ask("initialize", hello, greeting=True)
                if "result" in answer:
                    break
                await anyio.sleep(AGAIN_SECONDS)
            await self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            self._up.set()

    async def _listen(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None  # noqa: S101  # it was opened with a pipe
        lines = BufferedByteReceiveStream(process.stdout)
        with suppress(anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError, OSError):
            async with aclosing(lines):
                while True:
                    self._heard(json.loads(await lines.receive_until(b"\n", MAX_LINE_BYTES)))

    def _heard(self, message: Result) -> None:
        call = self._waiting.pop(message.get("id", 0), None)
        if call is not None:
            call.answer = message
            call.answered.set()

    def _hang_up(self) -> None:
        if self._up.is_set():  # else somebody waits for this very event
            self._up = anyio.Event()
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            call.answered.set()

    async def _ask(self, method: str, params: Result, *, greeting: bool = False) -> Result:
        with anyio.move_on_after(ANSWER_SECONDS):
            while not (greeting or self._up.is_set()):
                await self._up.wait()
            self._last_id += 1
            call = self._waiting[self._last_id] = _Call()
            request = {"id": self._last_id, "method": method, "params": params}
            await self._send({"jsonrpc": "2.0", **request})
            await call.answered.wait()
            if call.answer is None:
                raise _PipeGone
            return call.answer
        raise Unanswered(f"{method} {json.dumps(params)[:200]}")

    async def _send(self, message: Result) -> None:
        stdin = None if self._process is None else self._process.stdin
        if stdin is None:
            raise _PipeGone
        try:
            async with self._sending:
                await stdin.send(json.dumps(message).encode() + b"\n")
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise _PipeGone from error


async def leave(clients: list[Client]) -> None:
    """Close them, and wait until their pipes have gone."""
    with anyio.move_on_after(END_SECONDS):
        for client in clients:
            await client.close()
        await until(lambda: all(client.pipe is None for client in clients))
