"""A wire to a child process: one line for each text on its stdin and stdout.

Lines may be of any length. The child's stderr goes to the log, read in chunks, because a child
that writes megabytes without a line end would otherwise fill the pipe and stop.
"""

import logging
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteReceiveStream, Process

from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.wire import WireClosed

logger = logging.getLogger(__name__)

#: How long a child may take to leave once its stdin is closed, and again once it was told to.
LEAVE_SECONDS = 5.0
SHOWN_STDERR_BYTES = 2000


class StdioWire:
    """The stdin and stdout of a child."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._pen = anyio.Lock()
        self._lines: deque[bytes] = deque()
        self._rest: list[bytes] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    async def send(self, text: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - opened with PIPE below
        try:
            async with self._pen:
                await self._process.stdin.send(text.encode() + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise WireClosed("the child no longer reads") from error

    async def receive(self) -> str:
        while not self._lines:
            self._split(await self._chunk())
        return self._lines.popleft().decode(errors="replace")

    async def _chunk(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - opened with PIPE below
        try:
            return await self._process.stdout.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise WireClosed("the child closed its stdout") from error

    def _split(self, chunk: bytes) -> None:
        """Collect the parts of a long line in a list: joining at each chunk would be quadratic."""
        first, *others = chunk.split(b"\n")
        self._rest.append(first)
        for part in others:
            line = b"".join(self._rest).removesuffix(b"\r")
            self._rest = [part]
            if line:
                self._lines.append(line)

    async def aclose(self) -> None:
        if self._process.stdin is not None:
            await self._process.stdin.aclose()


@asynccontextmanager
async def running_child(
    command: Sequence[str], env: Mapping[str, str] | None = None
) -> AsyncIterator[StdioWire]:
    """A child for as long as this lasts; its stdin is closed at the end, and it leaves."""
    process = await anyio.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    assert process.stderr is not None  # noqa: S101 - opened with PIPE above
    stderr = process.stderr

    async def drain() -> None:
        await _log_chunks(stderr)

    wire = StdioWire(process)
    async with beside(drain):
        try:
            yield wire
        finally:
            with anyio.CancelScope(shield=True):
                await wire.aclose()
                await _leave(process)


async def _log_chunks(stream: ByteReceiveStream) -> None:
    try:
        async for chunk in stream:
            logger.debug("child: %s", chunk[:SHOWN_STDERR_BYTES].decode(errors="replace"))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def _leave(process: Process) -> None:
    """See the child off: by closing its stdin, by asking, at last by force."""

    async def unread() -> None:
        # A child that still has something to say must not hang on a full pipe.
        assert process.stdout is not None  # noqa: S101 - opened with PIPE above
        await _log_chunks(process.stdout)

    async with beside(unread):
        for push in (process.terminate, process.kill):
            with anyio.move_on_after(LEAVE_SECONDS):
                await process.wait()
                break
            push()
        await process.wait()
    await process.aclose()
