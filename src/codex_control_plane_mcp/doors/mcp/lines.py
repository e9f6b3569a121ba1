"""One MCP session over bytes: lines in, lines out, and an answer to every line that is no message.

The official SDK's own transport drops what it cannot parse, without a word; here the client is
told, and the session goes on. What the messages mean is the SDK's.
"""

from collections import deque
from types import TracebackType
from typing import Any, Protocol, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter
from pydantic import ValidationError

from codex_control_plane_mcp.framing import (
    INVALID_REQUEST,
    LineSplitter,
    Malformed,
    Oversized,
    error_line,
    line_too_long,
    parse,
)

#: A client that does not read for this long at our end is given up.
WRITE_SECONDS = 10.0


class ByteStream(Protocol):
    """What a session runs over: a socket, or standard input and output."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Some bytes; raises anyio.EndOfStream at the end."""
        ...

    async def send(self, item: bytes) -> None: ...


class LineWriter:
    """Messages to lines, one whole line at a time."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._turn = anyio.Lock()
        self._broken = False

    async def send(self, item: SessionMessage, /) -> None:
        await self.send_line(
            item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        )

    async def send_line(self, line: bytes) -> None:
        # A cancelled call must not leave half a line behind, so nothing cancels a line that has
        # begun; a client that does not read is given up instead.
        async with self._turn:
            if self._broken:
                raise anyio.BrokenResourceError
            self._broken = True
            with anyio.move_on_after(WRITE_SECONDS, shield=True):
                await self._stream.send(line + b"\n")
                self._broken = False
            if self._broken:
                raise anyio.BrokenResourceError

    async def aclose(self) -> None:
        """The stream is its opener's to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool | None:
        return None


class LineReader:
    """Lines to messages. What is none is answered through `writer`, and passed over."""

    def __init__(self, stream: ByteStream, writer: LineWriter, early: bytes = b"") -> None:
        self._stream = stream
        self._writer = writer
        self._splitter = LineSplitter()
        self._lines: deque[bytes | Oversized] = deque(self._splitter.feed(early))
        self._ended = False

    async def receive(self) -> SessionMessage | Exception:
        while True:
            while not self._lines:
                await self._fill()
            try:
                return SessionMessage(_message(self._lines.popleft()))
            except Malformed as error:
                await self._writer.send_line(error.answer)

    async def _fill(self) -> None:
        if self._ended:
            raise anyio.EndOfStream
        try:
            self._lines.extend(self._splitter.feed(await self._stream.receive()))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._ended = True
            if (half := self._splitter.finish()) is not None:
                self._lines.append(half)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """The stream is its opener's to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool | None:
        return None


def _message(line: bytes | Oversized) -> Any:
    if isinstance(line, Oversized):
        raise Malformed(line_too_long())
    message = parse(line)
    try:
        # From Python data, not from JSON text: text that is no valid Unicode shall reach the
        # tools, which name the argument it stands in.
        return jsonrpc_message_adapter.validate_python(message, by_name=False)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"]
        id_ = message.get("id")
        known = id_ if isinstance(id_, int | str) and not isinstance(id_, bool) else None
        answer = error_line(known, INVALID_REQUEST, f"Invalid request: no JSON-RPC message: {said}")
        raise Malformed(answer) from None
