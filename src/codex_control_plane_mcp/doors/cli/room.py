"""The book, looked into from a terminal: that starts nothing, changes no task, needs no worker.

It is the desk that looks, the same as for every other door; what is to be done goes to the worker
(see `client`).
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from codex_control_plane_mcp import paths, settings
from codex_control_plane_mcp.clock import Moment, SystemClock
from codex_control_plane_mcp.desk import roll, views_roll
from codex_control_plane_mcp.desk.desk import Desk, limits_of
from codex_control_plane_mcp.desk.interactions import Page
from codex_control_plane_mcp.desk.lookup import Found, Thing, find
from codex_control_plane_mcp.desk.runtime import NoRuntime
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.views import FinalReport, InteractionView, OperationView
from codex_control_plane_mcp.desk.workflows.status import Look as WorkflowLook
from codex_control_plane_mcp.desk.workflows.views import PlanView, WorkflowView
from codex_control_plane_mcp.errors import Busy, InvalidArgument
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.model.ids import HostId, OperationId, WorkflowId
from codex_control_plane_mcp.rendezvous import worker_lock_path
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store.book import Book, opened
from codex_control_plane_mcp.store.interactions import Search

#: A person reads a message as a whole, and a program too.
ALL_CHARS = 1_000_000
#: Tasks shown of each kind.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Room:
    """One book, and a desk to look into it."""

    settings: Settings
    book: Book
    desk: Desk
    clock: SystemClock

    def now(self) -> Moment:
        return self.clock.now()

    async def roll(self, ended: int) -> views_roll.Roll:
        limits, now = limits_of(self.settings), self.now()
        return await self.book.read(
            lambda reading: roll.roll(reading, limits, now, shown=SHOWN, ended=ended)
        )

    async def find(self, typed: str, *among: Thing) -> Found:
        """Raises InvalidArgument, NotFound."""
        return await self.book.read(lambda reading: find(reading, typed, *among))

    async def wanted(self, found: Found) -> views_roll.Wanted:
        """What was asked for."""
        if found.thing is Thing.WORKFLOW:
            workflow_id = WorkflowId(found.id)
            return await self.book.read(lambda reading: roll.terms_of(reading, workflow_id))
        operation_id = OperationId(found.id)
        return await self.book.read(lambda reading: roll.wanted_of(reading, operation_id))

    async def operation(self, operation_id: str, *, events: int = 10) -> OperationView:
        """An operation with its whole report. Raises OperationNotFound."""
        id_ = OperationId(operation_id)
        look = Look(
            operation_id=id_,
            last_messages=1,
            message_max_chars=ALL_CHARS,
            progress_events=events,
            progress_max_chars=ALL_CHARS,
        )
        shown = await self.desk.status(look)

        async def page(offset: int) -> FinalReport | None:
            wanted = Look(operation_id=id_, report_offset=offset, progress_events=0)
            return (await self.desk.status(wanted)).final_report

        return replace(shown, final_report=await _whole_report(shown.final_report, page))

    async def events(self, operation_id: str, after_seq: int, limit: int) -> OperationView:
        """An operation with its events behind `after_seq`. Raises OperationNotFound."""
        return await self.desk.status(
            Look(
                operation_id=OperationId(operation_id),
                after_seq=after_seq,
                last_messages=0,
                progress_events=limit,
                progress_max_chars=ALL_CHARS,
            )
        )

    async def workflow(self, workflow_id: str) -> WorkflowView:
        """A workflow with its whole plan and report. Raises WorkflowNotFound."""
        id_ = WorkflowId(workflow_id)
        look = WorkflowLook(workflow_id=id_, message_max_chars=ALL_CHARS)
        shown = await self.desk.workflows.status(look)

        async def plan_page(offset: int) -> PlanView | None:
            wanted = WorkflowLook(workflow_id=id_, plan_offset=offset)
            return to_judge(await self.desk.workflows.status(wanted))

        async def report_page(offset: int) -> FinalReport | None:
            wanted = WorkflowLook(workflow_id=id_, report_offset=offset)
            return (await self.desk.workflows.status(wanted)).final_report

        plan = await _whole_plan(to_judge(shown), plan_page)
        report = await _whole_report(shown.final_report, report_page)
        if shown.candidate_plan is not None:
            return replace(shown, final_report=report, candidate_plan=plan)
        return replace(shown, final_report=report, latest_plan=plan)

    async def questions(self, found: Found | None = None) -> tuple[InteractionView, ...]:
        """What Codex asks and nobody has answered: of all tasks, or of one."""
        search = Search()
        if found is not None and found.thing is Thing.WORKFLOW:
            search = Search(workflow_id=WorkflowId(found.id))
        elif found is not None:
            search = Search(operation_id=OperationId(found.id))
        asked: tuple[InteractionView, ...] = ()
        cursor: str | None = None
        while True:
            page = await self.desk.interactions(Page(search, limit=50, cursor=cursor))
            asked += page.interactions
            if (cursor := page.next_cursor) is None:
                return asked


def to_judge(workflow: WorkflowView) -> PlanView | None:
    """The plan that somebody has to decide on: one from elsewhere, where there is one."""
    return workflow.candidate_plan or workflow.latest_plan


async def _whole_report(
    first: FinalReport | None, page: Callable[[int], Awaitable[FinalReport | None]]
) -> FinalReport | None:
    if first is None:
        return None
    text, offset = first.text, first.next_offset
    while offset is not None and (more := await page(offset)) is not None:
        text, offset = text + more.text, more.next_offset
    return replace(first, text=text, next_offset=None)


async def _whole_plan(
    first: PlanView | None, page: Callable[[int], Awaitable[PlanView | None]]
) -> PlanView | None:
    if first is None:
        return None
    markdown, offset = first.markdown, first.next_offset
    while offset is not None and (more := await page(offset)) is not None:
        markdown, offset = markdown + more.markdown, more.next_offset
    return replace(first, markdown=markdown, next_offset=None)


def chosen_settings(state_db: str | None) -> Settings:
    """The settings in force, with the state that was named, if one was."""
    chosen = settings.load(os.environ)
    if state_db is None:
        return chosen
    return replace(chosen, state_db=Path(paths.canonical(state_db)), database_url=None)


def fleet_settings() -> Settings:
    """The settings in force, which are those of a fleet. Raises InvalidArgument."""
    chosen = chosen_settings(None)
    if chosen.database_url is None:
        raise InvalidArgument(
            "this state is one machine's, where the next worker takes up whatever is left; a fleet "
            "has its state in PostgreSQL: set CODEX_MCP_DATABASE_URL"
        )
    return chosen


def has_state(chosen: Settings) -> bool:
    """Whether there is a book already. That of a fleet is made by the first who looks."""
    return chosen.database_url is not None or chosen.state_db.is_file()


@contextmanager
def room_of(chosen: Settings) -> Iterator[Room]:
    """Raises InvalidArgument when there is no such state."""
    clock = SystemClock()
    with book_of(chosen) as book:
        yield Room(chosen, book, Desk(book, chosen, clock, NoRuntime()), clock)


def book_of(chosen: Settings, *, may_break: bool = False) -> AbstractContextManager[Book]:
    """The book as this host sees it; `may_break` is `migrate`'s. Raises InvalidArgument when there
    is no such state."""
    if not has_state(chosen):
        raise InvalidArgument(f"there is no state at {chosen.state_db}; name one with --state-db")
    return opened(chosen.book, host=HostId(chosen.book_host), may_break=may_break)


@contextmanager
def no_worker_at(chosen: Settings) -> Iterator[None]:
    """For as long as this lasts no worker has the state of this machine. Raises Busy."""
    lock = FileLock(worker_lock_path(str(chosen.state_db)))
    if not lock.acquire(blocking=False):
        raise Busy(
            "a worker has this state: end it first, with its turns left running: "
            "codex-control-plane-mcp-admin stop --worker-only"
        )
    try:
        yield
    finally:
        lock.release()
