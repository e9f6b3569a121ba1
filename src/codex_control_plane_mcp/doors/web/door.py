"""Where people come in: a loopback port that is bound at once and served when somebody comes.

What serves it takes a while to import, and most workers are never looked at. So a worker binds the
port that an open page may know, waits, and imports the rest for the first caller.
"""

import logging
import secrets
import socket

import anyio
from anyio.abc import TaskStatus

from codex_control_plane_mcp.clock import SystemClock
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.bearer import kept_token
from codex_control_plane_mcp.doors.web import keys
from codex_control_plane_mcp.doors.web.keys import Kept, Keys
from codex_control_plane_mcp.errors import InvalidArgument, StateBusy

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
#: Connections that may wait to be let in; a browser opens six.
BACKLOG = 128


class WebDoor:
    """The page of one worker."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._settings = desk.settings
        self._socket: socket.socket | None = None
        self._keys: Keys | None = None
        self._bound = anyio.Event()
        #: Pages that listen now.
        self.viewers = 0

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, from the moment on when somebody comes."""
        if self._settings.web == "off":
            task_status.started()
            return
        kept = keys.read(self._settings.web_file)
        if kept is not None or self._settings.web_port:
            try:
                self._open(kept)
            except OSError as error:
                logger.warning("the page cannot be had where it was: %s", error)
        task_status.started()
        await self._bound.wait()
        assert self._socket is not None  # noqa: S101  # that is what was waited for
        assert self._keys is not None  # noqa: S101
        with self._socket as listening:
            await anyio.wait_readable(listening)
            from codex_control_plane_mcp.doors.web.server import serve

            await serve(self._desk, self._keys, listening, self._count)

    async def link(self) -> str:
        """A link that can be used once. Raises InvalidArgument, StateBusy."""
        if self._settings.web == "off":
            raise InvalidArgument(
                "the page is switched off: CODEX_MCP_WEB is off", setting="CODEX_MCP_WEB"
            )
        if self._socket is None:
            try:
                self._open(keys.read(self._settings.web_file), elsewhere=True)
            except OSError as error:
                raise StateBusy(f"the page cannot listen on {HOST}: {error}") from error
        assert self._socket is not None  # noqa: S101  # it was opened
        assert self._keys is not None  # noqa: S101
        port = self._socket.getsockname()[1]
        return f"http://{HOST}:{port}/{self._keys.place}/enter?key={self._keys.new_link_key()}"

    def _open(self, kept: Kept | None, *, elsewhere: bool = False) -> None:
        """Listen where it is set, else where it was before, else, if `elsewhere`, anywhere."""
        known = self._settings.web_port or (kept.port if kept else 0)
        try:
            listening = socket.create_server((HOST, known), backlog=BACKLOG)
        except OSError:
            if self._settings.web_port or not elsewhere:
                raise
            listening = socket.create_server((HOST, 0), backlog=BACKLOG)
        listening.setblocking(False)
        port = listening.getsockname()[1]
        now = Kept(port, kept.secret if kept else secrets.token_hex(32))
        if now != kept:
            keys.keep(self._settings.web_file, now)
        # For who reads the metrics: it has to be there before the first one comes.
        kept_token(self._settings.metrics_token_file)
        self._socket, self._keys = listening, Keys(now.secret, SystemClock())
        self._bound.set()

    def _count(self, change: int) -> None:
        self.viewers += change
