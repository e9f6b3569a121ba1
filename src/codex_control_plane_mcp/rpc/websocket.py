"""A wire over WebSocket, one text frame for each text. asyncio only, because `websockets` is.

No pings: the line never leaves this machine, so a dead process is seen at once by its closed
socket, and a busy one must not be cut off for answering late.
"""

import logging
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.protocol import State

from codex_control_plane_mcp.rpc.wire import WireClosed

#: A process that listens answers an upgrade within milliseconds; under load, seconds.
OPEN_SECONDS = 5.0
CLOSE_SECONDS = 0.5
#: Frames that may wait for the reader before the socket is no longer read. The reader only sorts
#: them, so a burst of deltas should not make it stop and go.
WAITING_FRAMES = 1024

# `websockets` logs every connection and, at debug level, every frame with its text.
_quiet = logging.getLogger(f"{__name__}.frames")
_quiet.setLevel(logging.WARNING)


class CannotConnect(Exception):
    """Nobody answers there, or it refused us."""


class WebSocketWire:
    """An open WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        if self._socket.state is not State.OPEN:
            raise WireClosed("the connection is closed", nothing_written=True)
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise WireClosed(str(error)) from error

    async def receive(self) -> str:
        try:
            frame = await self._socket.recv()
        except ConnectionClosed as error:
            raise WireClosed(str(error)) from error
        return frame if isinstance(frame, str) else frame.decode(errors="replace")

    async def aclose(self) -> None:
        await self._socket.close()


async def connect_unix(path: str) -> WebSocketWire:
    """Connect to a unix socket."""
    return await _connected("ws://localhost/", unix=True, path=path)


async def connect_tcp(url: str, token: str) -> WebSocketWire:
    """Connect to `ws://127.0.0.1:PORT`, showing a token."""
    return await _connected(url, additional_headers={"Authorization": f"Bearer {token}"})


async def _connected(url: str, **where: Any) -> WebSocketWire:
    try:
        socket = await connect(
            url,
            max_size=None,
            compression=None,
            ping_interval=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_queue=WAITING_FRAMES,
            # A proxy for http must never see this connection.
            proxy=None,
            logger=_quiet,
            **where,
        )
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
        raise CannotConnect(str(error)) from error
    return WebSocketWire(socket)
