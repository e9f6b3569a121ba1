"""Tells the desk what the rest of the house knows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TypeVar

import anyio

from codex_control_plane_mcp import errors
from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.errors import (
    AppServerUnavailable,
    CodexError,
    Refused,
    ThreadNotFound,
)
from codex_control_plane_mcp.codex.inventory import Inventory, Wanted, take
from codex_control_plane_mcp.codex.library import CodexLibrary
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.supervisor import Status, Supervisor, may_be_alive
from codex_control_plane_mcp.codex.words.things import ProposedPlan, Turn
from codex_control_plane_mcp.codex.words.verbs import ListTurns
from codex_control_plane_mcp.desk.runtime import (
    AppServerState,
    CodexState,
    CodexWord,
    LiveGoal,
    Standing,
)
from codex_control_plane_mcp.model.ids import AppServerId, ThreadId
from codex_control_plane_mcp.model.operation import Plan
from codex_control_plane_mcp.model.workflow import Proposal, Sighting
from codex_control_plane_mcp.processes import started_when
from codex_control_plane_mcp.store.operations import clean
from codex_control_plane_mcp.work.workshop import Workshop

T = TypeVar("T")

#: Codex answers in a few milliseconds; what is asked here is not worth a longer wait.
ANSWER_SECONDS = 2.0
#: Plans are looked for among the last turns of a thread: with all their items these may be long.
TURNS_TO_READ = 5
#: A caller waits for this one, and Codex may have to be started for it.
FOLDER_SECONDS = 15.0
#: Calls are given up this much before the end of the time, so that what has come is brought home.
HEADWAY = 0.05


class Runtime:
    """The desk's `RuntimeView` of one running house."""

    def __init__(self, supervisor: Supervisor, workshop: Workshop) -> None:
        self._supervisor = supervisor
        self._workshop = workshop

    def standing(self) -> Standing:
        status = self._supervisor.status()
        return Standing(self._app_server(status), self._codex(status))

    def _app_server(self, status: Status) -> AppServerState:
        return AppServerState(
            running=status.alive is True,
            pid=status.process.pid if status.process and status.alive else None,
            version=status.version,
            transport=status.transport,
            ownership="own" if status.owned else "shared",
            started_at=_started(status),
            active_turns=self._workshop.active if status.alive else None,
            problem=_problem(status),
            connected=self._workshop.line.present is not None,
            died=status.alive is False,
        )

    def _codex(self, status: Status) -> CodexState:
        if status.installed is None:
            return CodexState(problem=status.missing)
        judgement = status.judgement
        return CodexState(
            binary=Path(status.installed.path),
            version=None if judgement is None else judgement.version,
            # While a former Codex does the work, nothing is broken.
            problem=None if status.alive else status.passed_over,
            refused=() if judgement is None else judgement.fit.refused,
            degraded=() if judgement is None else judgement.fit.degraded,
        )

    async def answers(self) -> bool | None:
        session = self._workshop.line.present
        if session is None:
            return None
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await session.list_loaded_threads()
        except Refused:
            return True  # It says no, but it says so.
        except (CodexError, TimeoutError):
            return False
        return True

    def is_gone(self, app_server_id: AppServerId) -> bool:
        return not may_be_alive(app_server_id)

    async def codex_projects(self) -> Sequence[str]:
        page = await self._asked(lambda session: session.list_projects())
        return tuple(path for project in page.data for path in project.roots) if page else ()

    async def plans_in(self, thread_id: ThreadId) -> Sequence[Sighting]:
        verb = ListTurns(thread_id, limit=TURNS_TO_READ, items_view="full", sort_direction="desc")
        page = await self._asked(lambda session: session.list_turns(verb))
        return () if page is None else tuple(chain.from_iterable(map(_plans, page.data)))

    async def goal_of(self, thread_id: ThreadId) -> LiveGoal | None:
        goal = await self._asked(lambda session: session.get_goal(thread_id))
        if goal is None:
            return None
        return LiveGoal(goal.objective, goal.status, goal.token_budget, goal.tokens_used)

    async def _asked(self, ask: Callable[[CodexSession], Awaitable[T]]) -> T | None:
        """What Codex answers, if it runs and answers at once."""
        session = self._workshop.line.present
        if session is None:
            return None
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                return await ask(session)
        except (CodexError, TimeoutError):
            return None

    async def folder_of(self, thread_id: ThreadId) -> str | None:
        try:
            with anyio.fail_after(FOLDER_SECONDS):
                async with self._workshop.line.session() as session:
                    return (await session.read_thread(thread_id)).cwd
        except ThreadNotFound as error:
            raise errors.ThreadNotFound(
                "Codex knows no such thread; take the threadId from a task's status or a chat list",
                threadId=thread_id,
            ) from error
        except (CodexError, TimeoutError):
            return None

    def library(self) -> CodexLibrary | None:
        session = self._workshop.line.present
        return None if session is None else CodexLibrary(session)

    async def ask_codex(self, wanted: Wanted, seconds: float, *, may_start: bool) -> CodexWord:
        end = anyio.current_time() + seconds
        inventory: Inventory | None = None
        problem: str | None = f"Codex was not up within {seconds:g} s"

        with anyio.move_on_after(seconds):
            try:
                async with self._session(may_start=may_start) as session:
                    left = end - anyio.current_time()
                    inventory = await take(session, wanted, left * (1 - HEADWAY))
                    problem = None
            except CodexError as error:
                problem = str(error)
            # Who starts an app-server judges it first, so mostly that is known by now.
            if may_start and self._supervisor.known() is None:
                with suppress(CodexError):
                    await self._supervisor.judged()
        judgement = self._supervisor.known()
        return CodexWord(
            version=None if judgement is None else judgement.version,
            methods=None if judgement is None else judgement.language.methods,
            inventory=inventory,
            problem=problem,
        )

    @asynccontextmanager
    async def _session(self, *, may_start: bool) -> AsyncIterator[CodexSession]:
        line = self._workshop.line
        if may_start:
            async with line.session() as session:
                yield session
        elif line.present is None:
            raise AppServerUnavailable("Codex does not run now")
        else:
            yield line.present


def _plans(turn: Turn) -> Iterator[Sighting]:
    """The plan of a turn that has ended, as the book would have it."""
    for item in turn.items:
        if isinstance(item, ProposedPlan) and turn.completed_at is not None:
            # Codex counts seconds: it ended in the course of this one.
            at = Moment(turn.completed_at * 1000 + 999)
            yield Sighting(Proposal(turn.id, Plan(item.id, clean(item.text))), at)


def _started(status: Status) -> Moment | None:
    if status.process is None or not status.alive:
        return None
    seconds = started_when(status.process)
    return None if seconds is None else Moment(round(seconds * 1000))


def _problem(status: Status) -> str | None:
    """What does not work as it should while the app-server runs."""
    if not status.alive:
        return None
    if status.passed_over is not None:
        return f"{status.passed_over}. Until then the former one goes on"
    if status.fit is not None and status.fit.degraded:
        return f"this Codex does without: {'; '.join(status.fit.degraded)}"
    return None
