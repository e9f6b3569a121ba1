"""Serves the pages over HTTP on a socket that listens already. Imported for the first caller."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import uvicorn

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.web.app import make_app
from codex_control_plane_mcp.doors.web.keys import Keys

#: Leaving, answers that are on their way are waited for this long; streams are ended before.
GRACE_SECONDS = 1


async def serve(
    desk: Desk, keys: Keys, listening: socket.socket, count: Callable[[int], None]
) -> None:
    """Serve until cancelled. `count` is told when a page begins (1) and ceases (-1) to listen."""
    leaving = anyio.Event()
    app = make_app(desk, keys, listening.getsockname()[1], leaving, count)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    await _Server(config, leaving).serve(sockets=[listening])


class _Server(uvicorn.Server):
    """One that does not tick ten times a second, and leaves the signals to the worker."""

    def __init__(self, config: uvicorn.Config, leaving: anyio.Event) -> None:
        super().__init__(config)
        self._leaving = leaving

    async def main_loop(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._leaving.set()
            with anyio.CancelScope(shield=True):
                await self.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
