"""Serves the clients of one state until nobody needs it: the worker, once it may work."""

import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.app.house import open_house
from codex_control_plane_mcp.app.logs import log_to
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.listener import Listener
from codex_control_plane_mcp.doors.web.door import WebDoor
from codex_control_plane_mcp.processes import identity_of
from codex_control_plane_mcp.rendezvous import (
    Descriptor,
    choose_address,
    withdraw,
    write_descriptor,
)
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store.editions import Outdated
from codex_control_plane_mcp.store.operations import Fenced

logger = logging.getLogger(__name__)

#: The longest time between two looks at whether anybody still needs us.
LOOK_SECONDS = 15.0


def run(chosen: Settings, ready: Callable[[], None]) -> None:
    """Serve until nobody has needed us for the idle time, or SIGTERM. `ready` is called once
    clients can connect. The caller holds the worker lock."""
    log_to(chosen.worker_log)
    try:
        anyio.run(_serve, chosen, ready)
    except* Fenced as fenced:
        logger.warning("what is on this host is left alone: %s", fenced.exceptions[0])
    except* Outdated as too_old:
        logger.error("the turns run on, for a newer release: %s", too_old.exceptions[0])


async def _serve(chosen: Settings, ready: Callable[[], None]) -> None:
    state_db = str(chosen.state_db)
    async with open_house(chosen) as house, anyio.create_task_group() as tasks:

        def make_room(version: str) -> None:
            logger.info("release %s takes over from %s", version, __version__)
            tasks.cancel_scope.cancel()

        page = WebDoor(house.desk)
        listener = await _listening(house.desk, state_db, tasks, make_room, page.link)
        await tasks.start(page.serve)
        with _announced(state_db, listener.descriptor):
            ready()
            tasks.start_soon(_told_to_leave, tasks.cancel_scope)
            # Over HTTP nobody could call us back: with that door open we stay.
            stays = await _http_opened(house.desk, chosen, tasks)
            await _nobody_needs_us(
                lambda: bool(stays or listener.connections or page.viewers or house.is_needed),
                chosen,
            )
            tasks.cancel_scope.cancel()


async def _listening(
    desk: Desk,
    state_db: str,
    tasks: TaskGroup,
    on_newer: Callable[[str], None],
    on_page: Callable[[], Awaitable[str]],
) -> Listener:
    """Accept connections beside the state, or where its file system takes no sockets, elsewhere."""
    listener = Listener(desk, choose_address(state_db), on_newer=on_newer, on_page=on_page)
    try:
        await tasks.start(listener.serve)
    except OSError as error:
        logger.warning("cannot listen beside the state (%s); trying a temporary folder", error)
        elsewhere = choose_address(state_db, beside=False)
        listener = Listener(desk, elsewhere, on_newer=on_newer, on_page=on_page)
        await tasks.start(listener.serve)
    return listener


async def _http_opened(desk: Desk, chosen: Settings, tasks: TaskGroup) -> bool:
    """Open the HTTP door where it is switched on. Where it cannot be, the pipes go on all the
    same, and the log says why."""
    if chosen.http_port is None:
        return False
    # Not before it is wanted: an HTTP server takes its time to import.
    from codex_control_plane_mcp.doors.mcp.http import Door, serve_http, token_of
    from codex_control_plane_mcp.doors.mcp.server import make_server

    try:
        token = token_of(chosen.state_db)
        server = make_server(desk)
        await tasks.start(
            serve_http, server, chosen.http_port, lambda manager: Door(manager, token)
        )
    except OSError as error:
        logger.warning("no MCP over HTTP at port %d: %s", chosen.http_port, error)
        return False
    logger.info("MCP over HTTP at port %d", chosen.http_port)
    return True


@contextmanager
def _announced(state_db: str, descriptor: Descriptor) -> Iterator[None]:
    """Say where we listen, for as long as this lasts."""
    ourselves = identity_of(os.getpid())
    descriptor.pid = os.getpid()
    descriptor.started_at = "" if ourselves is None else ourselves.started_at
    write_descriptor(state_db, descriptor)
    try:
        yield
    finally:
        withdraw(state_db, descriptor)


async def _told_to_leave(scope: anyio.CancelScope) -> None:
    if sys.platform == "win32":
        return  # There is no asking there, only ending.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


async def _nobody_needs_us(is_needed: Callable[[], bool], chosen: Settings) -> None:
    """Return once nobody has needed us for the idle time."""
    if chosen.database_url is not None:
        # Others of the fleet may need us without being connected here.
        await anyio.sleep_forever()
    patience = chosen.idle_exit_seconds
    needed_at = anyio.current_time()
    while anyio.current_time() - needed_at < patience:
        await anyio.sleep(min(patience / 4, LOOK_SECONDS))
        if is_needed():
            needed_at = anyio.current_time()
