"""Progress for clients that asked for it: how what a call waits for stands, while it waits.

It also tells a client that would give up after a while of silence that we are still there.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.texts import start_of
from codex_control_plane_mcp.desk.wait import awaited
from codex_control_plane_mcp.doors.presentable import presentable_text
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.model.ids import OperationId

logger = logging.getLogger(__name__)

#: The shortest time from one to the next; clients show it, and people read it.
PAUSE_SECONDS = 1.0
#: The longest. The shortest patience of a client that is known is 30 seconds.
SILENCE_SECONDS = 10.0
MESSAGE_CHARS = 200


@asynccontextmanager
async def progress(context: ServerRequestContext[Any], desk: Desk) -> AsyncIterator[None]:
    """While it lasts, the client hears how what is waited for stands, if it gave a token for it."""
    if (context.meta or {}).get("progress_token") is None:
        yield
        return
    watched: list[Sequence[OperationId]] = []
    unset = awaited.set(watched.append)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_report, context, desk, watched)
            yield
            group.cancel_scope.cancel()
    finally:
        awaited.reset(unset)


async def _report(
    context: ServerRequestContext[Any], desk: Desk, watched: Sequence[Sequence[OperationId]]
) -> None:
    """Progress is the seconds that were waited: it must grow, and nobody knows the total."""
    begun = anyio.current_time()
    try:
        async with desk.changes() as changes:
            while True:
                await anyio.sleep(PAUSE_SECONDS)
                with anyio.move_on_after(SILENCE_SECONDS - PAUSE_SECONDS):
                    ids = watched[-1] if watched else ()
                    while not (await changes.next()).operation_ids.intersection(ids):
                        pass
                standing = await _standing(desk, watched[-1] if watched else ())
                waited = round(anyio.current_time() - begun, 1)
                await context.session.report_progress(waited, message=standing)
    except ControlPlaneError as error:  # the call itself goes on, and will tell
        logger.info("no more progress of a call: %s", error.message)


async def _standing(desk: Desk, ids: Sequence[OperationId]) -> str:
    match ids:
        case []:
            return "at work"
        case [only]:
            shown = await desk.status(Look(operation_id=only, last_messages=0, progress_events=1))
            newest = shown.progress_events[-1].text if shown.progress_events else ""
            said = f"{shown.status}: {newest}" if newest else shown.status.value
            return start_of(presentable_text(said), MESSAGE_CHARS)[0]
        case _:
            return f"waiting for {len(ids)} tasks"
