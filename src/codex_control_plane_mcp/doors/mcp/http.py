"""The same tools over Streamable HTTP, for clients that take a URL: on this machine only, and only
for who has the token.

The protocol is the SDK's. Here is who may come in: a request must be for this very host and port
(a page of elsewhere whose name was made to point here says another one), from no page of another
origin, and bear the token.
"""

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from anyio.abc import TaskStatus
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from codex_control_plane_mcp.doors.bearer import CHALLENGE, REFUSAL, is_borne, kept_token
from codex_control_plane_mcp.framing import MAX_LINE_BYTES

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
PATH = "/mcp"
#: At our end, an answer that is being written may take so long.
CLOSE_SECONDS = 1


async def serve_http(
    server: Server[Any],
    port: int,
    door: Callable[[StreamableHTTPSessionManager], ASGIApp],
    *,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled. Started with the port once it can be called; raises OSError where it
    is taken."""
    with socket.create_server((HOST, port)) as bound:
        taken = bound.getsockname()[1]
        async with _manager(server, taken) as manager:
            config = uvicorn.Config(
                door(manager),
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
            http = _Http(config)
            async with anyio.create_task_group() as group:
                group.start_soon(_serve, http, bound)
                task_status.started(taken)
                try:
                    await anyio.sleep_forever()
                finally:
                    http.should_exit = True


async def _serve(http: uvicorn.Server, bound: socket.socket) -> None:
    with anyio.CancelScope(shield=True):
        await http.serve([bound])


def token_of(state_db: Path) -> str:
    """The token of this state, made when it is first asked for, in a file for its owner alone."""
    return kept_token(state_db.with_name(f"{state_db.name}.http.token"))


@asynccontextmanager
async def _manager(server: Server[Any], port: int) -> AsyncIterator[StreamableHTTPSessionManager]:
    hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
    manager = StreamableHTTPSessionManager(
        server,
        security_settings=TransportSecuritySettings(
            allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
        ),
        max_request_body_size=MAX_LINE_BYTES,
    )
    async with manager.run():
        yield manager


class _Http(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The worker's signals are the worker's."""
        yield


class Door:
    """Lets in who bears the token. Host and Origin are looked at behind it, by the SDK."""

    def __init__(self, manager: StreamableHTTPSessionManager, token: str) -> None:
        self._manager = manager
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH:
            await PlainTextResponse(f"MCP is at {PATH}", 404)(scope, receive, send)
        elif not is_borne(Headers(scope=scope).get("authorization", ""), self._token):
            await PlainTextResponse(REFUSAL, 401, CHALLENGE)(scope, receive, send)
        else:
            await self._manager.handle_request(scope, receive, send)
