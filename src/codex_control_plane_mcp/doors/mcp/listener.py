"""Where MCP clients come in: through the pipe over a local socket, or by standard input.

Each connection is greeted, served as one MCP session, and counted. Who may connect is the folder's
mode and, over TCP, the token. Whoever may connect may also ask for a link to the page, if there is
one. Announcing the address is the app's.
"""

import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import ByteStream, SocketAttribute, TaskStatus
from mcp.server.lowlevel import Server

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp import lines
from codex_control_plane_mcp.doors.mcp.lines import LineReader, LineWriter
from codex_control_plane_mcp.doors.mcp.server import make_server
from codex_control_plane_mcp.doors.mcp.tools import offered
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.rendezvous import (
    GREETING_SECONDS,
    MAX_GREETING_BYTES,
    PAGE,
    Descriptor,
    PipeGreeting,
    Unwelcome,
    is_newer,
    page_answer,
    read_pipe_greeting,
    worker_greeting,
)

logger = logging.getLogger(__name__)

#: Pipes that may wait to be let in. Thirty clients may start at once.
BACKLOG = 128


class Listener:
    """Serves every connection to one address."""

    def __init__(
        self,
        desk: Desk,
        descriptor: Descriptor,
        on_connections: Callable[[int], None] | None = None,
        on_newer: Callable[[str], None] | None = None,
        on_page: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        #: Where it listens; over TCP, with the port once it does.
        self.descriptor = descriptor
        self._server = make_server(desk)
        self._offer = offered(desk.settings.toolsets)
        self._on_connections = on_connections or (lambda _count: None)
        #: Called with its version when a newer release of ourselves knocks. Its pipe is hung up on,
        #: and starts a worker of its own release.
        self._on_newer = on_newer or (lambda _version: None)
        self._on_page = on_page
        self._connections = 0
        self._streams: set[ByteStream] = set()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return self._connections

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started once connections are accepted and `descriptor` is true."""
        async with await self._bind() as sockets, anyio.create_task_group() as group:
            await group.start(self._close_at_the_end)
            task_status.started()
            await sockets.serve(self._welcome)

    async def _bind(self) -> Any:
        where = self.descriptor
        if where.kind == "unix":
            return await anyio.create_unix_listener(where.path, mode=0o600, backlog=BACKLOG)
        sockets = await anyio.create_tcp_listener(
            local_host=where.host, local_port=where.port, backlog=BACKLOG
        )
        where.port = sockets.extra(SocketAttribute.local_port)  # noqa: S610  # not Django's
        return sockets

    async def _close_at_the_end(self, *, task_status: TaskStatus[None]) -> None:
        """End the sessions by ending what they read, for their reading is not cancelled."""
        try:
            task_status.started()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for stream in tuple(self._streams):
                    await _end_reading(stream)

    async def _welcome(self, stream: ByteStream) -> None:
        """One connection, from its greeting to its end. Its faults end nobody else's."""
        self._streams.add(stream)
        async with stream:
            try:
                pipe, early = await self._greeted(stream)
                if pipe.wants == PAGE:
                    await stream.send(await self._page())
                    return
                with self._counted():
                    await serve_session(self._server, _Steady(stream), early)
            except Unwelcome as refusal:
                logger.warning("a connection was refused: %s", refusal)
                with anyio.move_on_after(GREETING_SECONDS):
                    await stream.send(refusal.answer)
            except (anyio.EndOfStream, anyio.BrokenResourceError, TimeoutError):
                logger.debug("a connection ended before its greeting")
            except Exception:
                logger.exception("a session failed")
            finally:
                self._streams.discard(stream)

    async def _page(self) -> bytes:
        if self._on_page is None:
            return page_answer(None, "this worker has no page")
        try:
            return page_answer(await self._on_page())
        except ControlPlaneError as error:
            return page_answer(None, error.message)

    async def _greeted(self, stream: ByteStream) -> tuple[PipeGreeting, bytes]:
        """Exchange greetings: the client's own, and what it sent behind that."""
        received = b""
        with anyio.fail_after(GREETING_SECONDS):
            while b"\n" not in received:
                received += await stream.receive()
                if len(received) > MAX_GREETING_BYTES and b"\n" not in received:
                    raise Unwelcome("the greeting has no end")
            line, _, early = received.partition(b"\n")
            pipe = read_pipe_greeting(line, self.descriptor.token)
            if is_newer(pipe.version, __version__):
                self._on_newer(pipe.version)
                raise anyio.EndOfStream
            offer = self._offer
            surface = offer.version.tool_surface_hash
            await stream.send(worker_greeting(offer.repeatable, offer.keyed, surface))
        return pipe, early

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._connections += change
        self._on_connections(self._connections)


async def _end_reading(stream: ByteStream) -> None:
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  not Django's
    if raw.family == socket.AF_INET:
        await stream.aclose()
    else:
        with suppress(OSError):  # the client was faster
            raw.shutdown(socket.SHUT_RD)


class _Steady:
    """A stream whose reading ends with the stream only.

    Cancelling a read of a unix socket, or closing the socket, at the very moment when bytes arrive
    makes anyio's asyncio backend set the result of a future that is done, and the event loop
    complains.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        chunk = b""
        with anyio.CancelScope(shield=True):
            chunk = await self._stream.receive(max_bytes)
        return chunk  # noqa: RET504  for mypy, any scope may swallow what is raised in it

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)


async def serve_session(server: Server[Any], stream: lines.ByteStream, early: bytes = b"") -> None:
    """One MCP session over a stream of bytes, until the client's end of it closes."""
    writer = LineWriter(stream)
    reader = LineReader(stream, writer, early)
    await server.run(reader, writer, server.create_initialization_options())


async def serve_stdio(desk: Desk) -> None:
    """One session over standard input and output, for a worker that is the client's own child."""
    with _standard_streams() as stream:
        await serve_session(make_server(desk), stream)


class _StandardStreams:
    """Standard input and output as a stream of bytes."""

    def __init__(self, fd_in: int, fd_out: int) -> None:
        self._fd_in = fd_in
        self._fd_out = fd_out

    async def receive(self, max_bytes: int = 65536) -> bytes:
        # A read that waits cannot be taken back: when we are cancelled, its thread is left to it.
        chunk = await anyio.to_thread.run_sync(
            os.read, self._fd_in, max_bytes, abandon_on_cancel=True
        )
        if not chunk:
            raise anyio.EndOfStream
        return chunk

    async def send(self, item: bytes) -> None:
        try:
            await anyio.to_thread.run_sync(_write_all, self._fd_out, item)
        except OSError as error:
            raise anyio.BrokenResourceError from error


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def _standard_streams() -> Iterator[_StandardStreams]:
    """While it lasts, nobody else can write to the client by mistake: what is printed goes to
    standard error, and children find no input."""
    sys.stdout.flush()
    fd_in, fd_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield _StandardStreams(fd_in, fd_out)
    finally:
        sys.stdout.flush()
        os.dup2(fd_in, 0)
        os.dup2(fd_out, 1)
        os.close(fd_out)
        # `fd_in` may still be waited for by a thread; its number must not go to another file.
