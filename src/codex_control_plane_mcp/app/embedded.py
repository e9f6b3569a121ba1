"""Everything in the client's own process: for containers and for debugging.

`codex-control-plane-mcp --embedded`. The process that speaks MCP on standard input and output is
also the worker, so its end is the end of both; what it had begun is taken up by the next one.
"""

import os
import sys

import anyio

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.app.house import open_house
from codex_control_plane_mcp.app.logs import log_to
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.rendezvous import worker_lock_path
from codex_control_plane_mcp.settings import Settings


def main() -> int:
    """Serve one client on stdio until it closes its end."""
    try:
        chosen = settings.load(os.environ)
    except ControlPlaneError as error:
        return _failed(error.message)
    make_private_folder(str(chosen.state_db.parent))
    lock = FileLock(worker_lock_path(str(chosen.state_db)))
    if not lock.acquire(blocking=False):
        return _failed(
            f"a worker has {chosen.state_db} already; leave --embedded out to be connected to it"
        )
    try:
        anyio.run(_serve, chosen)
    except ControlPlaneError as error:
        return _failed(error.message)
    finally:
        lock.release()
    return 0


def _failed(why: str) -> int:
    sys.stderr.write(f"codex-control-plane-mcp: {why}\n")
    return 2


async def _serve(chosen: Settings) -> None:
    from codex_control_plane_mcp.doors.mcp.listener import serve_stdio

    log_to(chosen.worker_log)
    async with open_house(chosen) as house:
        await serve_stdio(house.desk)
