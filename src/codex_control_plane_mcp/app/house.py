"""The exit stack: what the worker and the embedded mode both open, in order.

settings → book → fleet → generation → Codex → workshop → desk. Closing is reading backwards.
"""

import logging
import math
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import anyio

from codex_control_plane_mcp import __version__, tracing
from codex_control_plane_mcp.app.fleet import Territory, in_fleet
from codex_control_plane_mcp.app.heart import beating
from codex_control_plane_mcp.app.runtime import Runtime
from codex_control_plane_mcp.clock import SystemClock
from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.supervisor import Supervisor, may_be_alive
from codex_control_plane_mcp.desk.desk import Desk, limits_of
from codex_control_plane_mcp.desk.summary import configured
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import Generation, HostId
from codex_control_plane_mcp.settings import DATABASE_VARIABLE, Settings
from codex_control_plane_mcp.store import lookup, queue, workers
from codex_control_plane_mcp.store.book import Book, opened
from codex_control_plane_mcp.store.notices import Notices
from codex_control_plane_mcp.store.presence import Presence
from codex_control_plane_mcp.work.courier import Courier
from codex_control_plane_mcp.work.hook_history import HookHistory
from codex_control_plane_mcp.work.mends import Means
from codex_control_plane_mcp.work.receivers import receivers_of
from codex_control_plane_mcp.work.repairs import Repairs
from codex_control_plane_mcp.work.workshop import Rules, Workshop

logger = logging.getLogger(__name__)

#: An app-server of a former Codex is looked at again this long after it was not idle, and to see
#: it end.
REAP_SECONDS = 2.0
#: Leaving, our idle app-server is waited for this long; it needs a fraction of a second.
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class House:
    """Everything open and running."""

    workshop: Workshop
    desk: Desk
    courier: Courier

    @property
    def is_needed(self) -> bool:
        """Whether there is work, running or waiting for its turn, or a notice to be delivered."""
        return bool(self.workshop.active or self.workshop.has_queue or self.courier.waiting)


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """Open the book as its new owner and begin to work.

    The caller holds the worker lock of this state. Leaving, turns that run are left running: the
    app-server goes on with them, and the next worker takes them up. An app-server without turns is
    asked to end, if it is ours.
    """
    clock = SystemClock()
    supervisor = Supervisor(
        codex_home=settings.codex_home,
        folder=settings.app_server_folder,
        mode=settings.app_server,
        binary=str(settings.codex_binary) if settings.codex_binary else None,
        environ=without_secrets(os.environ),
    )
    _make_default_home(settings)
    territory = Territory(settings)
    receivers = receivers_of(settings)
    outbox = Notices(tuple(receivers), with_text=settings.notices_include_text)
    async with AsyncExitStack() as stack:
        stack.enter_context(tracing.exporting(os.environ))
        book = stack.enter_context(
            opened(
                settings.book,
                clock=clock,
                host=HostId(settings.book_host),
                outbox=outbox if receivers else None,
                may_break=True,
            )
        )
        fleet = await stack.enter_async_context(
            in_fleet(settings, book, territory, lambda: supervisor.status().version)
        )
        generation = await book.write(
            lambda writing: workers.enter(writing, uuid.uuid4().hex, os.getpid(), __version__)
        )
        logger.info("generation %d owns %s", generation, settings.database_url or settings.state_db)
        workshop = Workshop(
            book,
            supervisor.connect,
            generation,
            _rules(settings, territory, fleet),
            lambda id_: not may_be_alive(id_),
        )
        workshop.line.connect_to = supervisor.connect_to
        desk = Desk(
            book,
            settings,
            clock,
            Runtime(supervisor, workshop),
            summaries=configured(settings, os.environ),
        )
        hooks = HookHistory(
            book,
            settings.hook_spool,
            settings.hook_history_max_text_chars,
            enabled=settings.hook_history_enabled,
        )
        repairs = Repairs(
            Means(
                book=book,
                workshop=workshop,
                settings=settings,
                app_servers=supervisor,
                hooks=hooks,
                is_gone=lambda id_: not may_be_alive(id_),
                rebuild_index=desk.searching.rebuild,
                forget_catalogue=desk.forget_capabilities,
            )
        )
        courier = Courier(book, receivers)
        with beating(book, generation, lambda: bool(workshop.active)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(workshop.run)
                tasks.start_soon(see_off, book, workshop, supervisor)
                tasks.start_soon(hooks.run)
                tasks.start_soon(repairs.run)
                tasks.start_soon(desk.searching.keep_up)
                tasks.start_soon(courier.run)
                try:
                    yield House(workshop, desk, courier)
                finally:
                    tasks.cancel_scope.cancel()
        await _leave(book, generation, workshop, supervisor)


def _make_default_home(settings: Settings) -> None:
    """Codex makes its usual home by itself, but refuses one that it is given and that is not there;
    it is always given one."""
    if settings.sources.get("codex_home") == "default":
        settings.codex_home.mkdir(mode=0o700, parents=True, exist_ok=True)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What Codex and its commands may know of our environment."""
    return {name: value for name, value in environ.items() if name != DATABASE_VARIABLE}


def _rules(settings: Settings, territory: Territory, fleet: Presence | None) -> Rules:
    rules = Rules(
        limits_of(settings),
        settings.worktrees_folder,
        settings.spool_folder,
        settings.approval_response_timeout_seconds,
    )
    if fleet is None:
        return rules
    return replace(rules, reach=territory.reach, may_start=lambda: fleet.is_valid)


async def see_off(book: Book, workshop: Workshop, supervisor: Supervisor) -> None:
    """End the app-servers of a former Codex once their last turn has ended."""
    with book.bell.listening() as change:
        while True:
            with anyio.move_on_after(
                REAP_SECONDS if await _reaped(book, workshop, supervisor) else math.inf
            ):
                await change.wait()


async def _reaped(book: Book, workshop: Workshop, supervisor: Supervisor) -> bool:
    """Whether there is one to come back to."""
    if not supervisor.has_retired:
        return False
    try:
        unfinished = await book.read(lookup.unfinished)
        in_use = {one.app_server_id for one in unfinished if one.app_server_id is not None}
        return await supervisor.reap(in_use | workshop.line.in_use)
    except (CodexError, StateBusy, OSError) as error:
        logger.warning("a retired app-server stays for now: %s", error)
        return True


async def _leave(
    book: Book, generation: Generation, workshop: Workshop, supervisor: Supervisor
) -> None:
    with anyio.move_on_after(DRAIN_SECONDS, shield=True):
        await book.write(lambda writing: workers.leave(writing, generation))
        active = await book.read(queue.active_jobs)
        if not any(job.host == book.host for job in active):
            await supervisor.drain(DRAIN_SECONDS)
    logger.info("generation %d has left", generation)
