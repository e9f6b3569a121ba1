"""Takes one operation from wherever it stands to its end.

The same steps serve a fresh operation and one that an earlier worker left in the middle: each step
looks at the state on record, acts, and records what came of it. Where it is not known whether an
act reached Codex, the thread is read for evidence; nothing is ever asked twice on a guess.
"""

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from codex_control_plane_mcp import tracing
from codex_control_plane_mcp.codex.errors import (
    AppServerGone,
    AppServerUnavailable,
    BinaryNotFound,
    CallTimedOut,
    CodexError,
    OddAnswer,
    Overloaded,
    Refused,
    ShuttingDown,
    ThreadArchived,
    ThreadElsewhere,
    ThreadNotFound,
    ThreadUnreadable,
    UnfitCodex,
)
from codex_control_plane_mcp.codex.inbox import Inbox, Said
from codex_control_plane_mcp.codex.session import AppServerIdentity, CodexSession
from codex_control_plane_mcp.codex.words.events import (
    ConnectionLost,
    ThreadStatusChanged,
    TurnCompleted,
)
from codex_control_plane_mcp.codex.words.things import ThreadInForce
from codex_control_plane_mcp.codex.words.verbs import ResumeThread
from codex_control_plane_mcp.errors import AppServerUnavailable as AppServerUnavailableCode
from codex_control_plane_mcp.errors import SendFailed
from codex_control_plane_mcp.errors import ThreadNotFound as ThreadNotFoundCode
from codex_control_plane_mcp.git import GitError
from codex_control_plane_mcp.model.ids import AppServerId, ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    WITH_TURN,
    Cancelled,
    Done,
    Failed,
    Lost,
    Operation,
    OwnerChanged,
    Policy,
    Report,
    Status,
    ThreadBound,
    ThreadLost,
    Trouble,
    TurnAccepted,
    TurnIntended,
    WorktreeMade,
)
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    StartChat,
    SteerTurn,
    UnarchiveThread,
    attachments_of,
)
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.wishes import WishKind
from codex_control_plane_mcp.work.case import Case
from codex_control_plane_mcp.work.evidence import SETTLE_SECONDS, find_turn, newest_turn
from codex_control_plane_mcp.work.filing import file
from codex_control_plane_mcp.work.follower import IDLE_SECONDS, Follower
from codex_control_plane_mcp.work.inputs import missing
from codex_control_plane_mcp.work.kinds import (
    BareFork,
    Course,
    Filing,
    Fork,
    NewThread,
    OldThread,
    Origin,
    Steering,
    kind_of,
)
from codex_control_plane_mcp.work.line import Line
from codex_control_plane_mcp.work.spool import Spool
from codex_control_plane_mcp.work.steering import StillUnanswered, steer
from codex_control_plane_mcp.work.worktree import made

logger = logging.getLogger(__name__)

#: Between two attempts to reach Codex: doubled each time, up to the second.
FIRST_RETRY_SECONDS = 0.2
LAST_RETRY_SECONDS = 20.0
#: An app-server that has our thread and nothing to do is ended within seconds; so often it is
#: waited for before the thread is left to it.
ENDS_AWAITED = 5
#: So often it is tried again, about a minute, before an operation without a turn fails: nothing was
#: asked of Codex yet, so failing is the truth. And before a turn is given up whose record Codex
#: cannot read: nobody else knows how it ended.
TIMES_TRIED = 8


@dataclass(frozen=True, slots=True)
class Tools:
    """What every driver works with."""

    book: Book
    line: Line
    #: Whether the process that this app-server id names has ended, provably.
    is_gone: Callable[[AppServerId], bool]
    #: Where git worktrees are kept.
    worktrees: Path
    #: Where is kept what Codex says while the book does not answer.
    spool: Path
    approval_seconds: float | None = None


class Driver:
    """Drives one operation. The only one who writes to it, as long as its generation is current."""

    def __init__(self, operation: Operation, tools: Tools) -> None:
        self._case = Case(operation, tools.book)
        self._spool = Spool(tools.spool, self._case)
        # On its host it works in the checkout of that.
        self._kind = kind_of(replace(operation.request, cwd=operation.cwd))
        self._tools = tools
        #: The process that had the thread is gone, and another answers now.
        self._owner_died = False
        #: The process that has the thread, takes no turns any more and took none of ours.
        self._released_by: AppServerId | None = None
        #: The process that has the thread of an earlier operation loaded, where nobody else may
        #: write to it; and how often we were told that somebody has it.
        self._held_by: AppServerId | None = None
        self._times_held = 0
        #: The session over which we asked for the turn or subscribed to it: nothing is in doubt.
        self._bound_to: CodexSession | None = None
        #: The session that still owes an answer to `turn/start` or `turn/steer`: while it is up,
        #: Codex may yet carry that out, however long it takes.
        self._owes_answer: CodexSession | None = None

    async def run(self) -> None:
        """Drive to the end. Raises Fenced when another worker has taken over."""
        failures = 0
        await self._spool.drain()
        while not self._operation.is_final:
            before = self._operation.status_seq
            try:
                async with self._session() as session:
                    await self._advance(session)
            except (BinaryNotFound, UnfitCodex) as error:
                await self._stumbled(error, TIMES_TRIED)
            except CodexError as error:
                failures = 1 if self._operation.status_seq != before else failures + 1
                await self._stumbled(error, failures)

    @property
    def _operation(self) -> Operation:
        return self._case.operation

    # --- One height: bind a thread, ask for the turn, follow it ---------------------------------

    async def _advance(self, session: CodexSession) -> None:
        if self._nothing_asked_of(session) and await self._is_cancelled():
            return
        await self._have_worktree()
        if self._operation.is_final:
            return
        match self._kind:
            case Course() as course:
                await self._have_turn(course, session)
            case BareFork() as fork:
                await self._have_fork(fork, session)
            case Steering(request):
                await self._make_sure_of_owner(session)
                await self._steer(request, session)
            case Filing(request):
                await self._file(request, session)

    async def _have_worktree(self) -> None:
        """Make the worktree that is asked for, if it is not there yet: Codex is to work there."""
        operation = self._operation
        request = operation.request
        if not isinstance(request, StartChat) or not request.worktree:
            return
        if operation.worktree is None:
            try:
                asked = replace(request, cwd=operation.folder)
                worktree = await made(asked, operation.id, self._tools.worktrees)
            except GitError as error:
                await self._case.end(Failed(Trouble(SendFailed.code, str(error))))
                return
            await self._case.record(WorktreeMade(worktree))
        self._kind = kind_of(replace(request, cwd=self._operation.cwd))

    async def _steer(self, request: SteerTurn, session: CodexSession) -> None:
        try:
            await steer(self._case, request, session, owes_answer=self._owes_answer is session)
        except CallTimedOut as error:
            if error.method == "turn/steer":
                self._owes_answer = session
            raise

    async def _file(self, request: ArchiveThread | UnarchiveThread, session: CodexSession) -> None:
        with session.inbox(request.thread_id) as inbox:
            done = await file(
                request,
                session,
                lambda: self._wait_until_idle(session, request.thread_id, inbox),
            )
        if not self._operation.is_final:
            await self._case.end(done)

    async def _have_fork(self, fork: BareFork, session: CodexSession) -> None:
        opened = await fork.origin.open(session)
        bound = ThreadBound(opened.thread.id, session.app_server.id, _policy(opened))
        if fork.title is not None:
            await self._name_thread(session, opened.thread.id, fork.title)
        report = Report(f"Forked to thread {opened.thread.id}.", None)
        await self._case.end(bound, Done(report))

    async def _have_turn(self, course: Course, session: CodexSession) -> None:
        if self._operation.status is Status.STARTING_THREAD:
            await self._bind_thread(course, session)
            if self._operation.is_final:
                return
        thread_id = self._thread_id()
        await self._make_sure_of_owner(session)
        with session.inbox(thread_id) as inbox:
            if self._operation.status is Status.STARTING_TURN:
                await self._ask(course, session, thread_id, inbox)
            if self._operation.status in WITH_TURN:
                await self._follow(course.asking.silence, session, inbox)

    async def _bind_thread(self, course: Course, session: CodexSession) -> None:
        """Get a thread, and put the wish for a turn on record in the same breath: unless somebody
        wants none any more."""
        opened, last_turn_id = await self._open_thread(course.origin, session)
        if self._operation.is_final:
            return
        self._bound_to = session
        await self._case.record_unless_unwanted(
            ThreadBound(opened.thread.id, session.app_server.id, _policy(opened)),
            TurnIntended(last_turn_id),
        )

    async def _open_thread(
        self, origin: Origin, session: CodexSession
    ) -> tuple[ThreadInForce, TurnId | None]:
        """The thread, and the last turn it had; it is idle."""
        match origin:
            case NewThread():
                return await origin.open(session), None
            case Fork():
                opened = await origin.open(session)
                newest = await newest_turn(session, opened.thread.id)
                return opened, None if newest is None else newest.id
            case OldThread(thread_id):
                with session.inbox(thread_id) as inbox:
                    opened = await self._resume_idle(session, thread_id)
                    return opened, await self._wait_until_idle(session, thread_id, inbox)

    async def _resume_idle(self, session: CodexSession, thread_id: ThreadId) -> ThreadInForce:
        try:
            return await session.resume_thread(ResumeThread(thread_id))
        except ThreadElsewhere:
            self._held_by = await self._holder(session, thread_id)
            raise

    async def _holder(self, session: CodexSession, thread_id: ThreadId) -> AppServerId | None:
        """The former app-server that had the last turn in this thread, if it is to have the next
        one, too: it has other turns, or does not end."""
        self._times_held += 1
        newest = await newest_turn(session, thread_id)
        if newest is None:
            return None
        last = await self._case.book.read(
            lambda reading: lookup.by_turn(reading, thread_id, newest.id)
        )
        owner = None if last is None else last.app_server_id
        unfinished = await self._case.book.read(lookup.unfinished)
        is_busy = any(one.app_server_id == owner for one in unfinished)
        return owner if is_busy or self._times_held >= ENDS_AWAITED else None

    async def _ask(
        self, course: Course, session: CodexSession, thread_id: ThreadId, inbox: Inbox
    ) -> None:
        """Have Codex accept the turn: once."""
        asking = course.asking
        if self._bound_to is not session and not await self._settle_doubt(
            course, session, thread_id, inbox
        ):
            return
        if self._operation.status is not Status.STARTING_TURN:
            return
        if (why := missing(attachments_of(self._operation.request))) is not None:
            await self._case.end(Failed(Trouble(SendFailed.code, why)))
            return
        try:
            turn_id = await asking.ask(session, thread_id, self._operation)
        except (ShuttingDown, Overloaded) as error:
            # Codex took nothing: the next attempt may ask with an intent of its own.
            if isinstance(error, ShuttingDown):
                self._released_by = session.app_server.id
            await self._case.record(TurnIntended(self._intent_last_turn()))
            raise
        except Refused as error:
            await self._case.end(Failed(Trouble(SendFailed.code, str(error))))
        except (AppServerGone, CallTimedOut, OddAnswer) as error:
            self._bound_to = None  # In doubt: whoever comes next looks for evidence.
            self._owes_answer = session if isinstance(error, CallTimedOut) else None
            raise
        else:
            await self._case.record(TurnAccepted(turn_id, f"{asking.method} answered"))
            if course.title is not None:
                await self._name_thread(session, thread_id, course.title)

    async def _settle_doubt(
        self, course: Course, session: CodexSession, thread_id: ThreadId, inbox: Inbox
    ) -> bool:
        """Find out what became of the wish on record. True when it is sure that the turn has not
        been accepted and a new wish is on record; False when the state has moved on."""
        asking, intent = course.asking, self._operation.intent
        try:
            await self._resume_in_doubt(session, thread_id)
        except ThreadNotFound as error:
            if self._owes_answer is session:
                raise StillUnanswered(asking.method) from error
            await self._thread_is_lost(course.origin, error)
            return False
        found = (
            None
            if intent is None
            else await find_turn(session, self._operation.id, thread_id, intent, asking.find)
        )
        if found is not None:
            # What it said before we subscribed is read when it is followed.
            await self._case.record(TurnAccepted(found.turn_id, found.how))
            return False
        if self._owes_answer is session:
            raise StillUnanswered(asking.method)
        last_turn_id = await self._wait_until_idle(session, thread_id, inbox)
        if self._operation.is_final:
            return False
        await self._case.record_unless_unwanted(TurnIntended(last_turn_id))
        self._bound_to = session
        return not self._operation.is_final

    async def _resume_in_doubt(self, session: CodexSession, thread_id: ThreadId) -> None:
        """Subscribe again. A thread without a turn is not found, but neither is one whose turn is
        being accepted at this moment: where the owner lives, it counts only when said twice."""
        try:
            await session.resume_thread(ResumeThread(thread_id))
        except ThreadNotFound:
            if self._owner_died:
                raise
            await anyio.sleep(SETTLE_SECONDS)
            await session.resume_thread(ResumeThread(thread_id))

    async def _thread_is_lost(self, origin: Origin, error: ThreadNotFound) -> None:
        """Without a turn a thread is not kept: its absence proves that none was accepted."""
        match origin:
            case NewThread() | Fork():
                await self._case.record(ThreadLost())
            case OldThread():
                await self._case.end(Failed(Trouble(ThreadNotFoundCode.code, str(error))))

    async def _follow(self, silence: str, session: CodexSession, inbox: Inbox) -> None:
        follower = Follower(
            self._case, session, inbox, self._spool, self._tools.approval_seconds, silence
        )
        subscribed = self._bound_to is session
        # Whoever comes back here has missed what was said in between.
        self._bound_to = None
        with _span_of_turn(self._operation) as span:
            await follower.run(subscribed=subscribed, owner_died=self._owner_died)
            span.tell("codex.operation.status", self._operation.status)

    # --- Particulars ----------------------------------------------------------------------------

    async def _wait_until_idle(
        self, session: CodexSession, thread_id: ThreadId, inbox: Inbox
    ) -> TurnId | None:
        """The newest turn of the thread, once it has ended: to ask while a turn runs (a person's,
        in Codex itself) would not start one but steer that one."""
        with self._case.book.bell.listening(
            self._operation.id, about=Subject.WISH, on_ring=inbox.nudge
        ):
            while True:
                newest = await newest_turn(session, thread_id)
                if newest is None or newest.status != "inProgress" or await self._is_cancelled():
                    break
                await self._case.note(
                    Category.NOTICE, f"Turn {newest.id} runs in this thread; waiting for its end."
                )
                await _end_of(newest.id, inbox, self._is_cancelled)
        return None if newest is None else newest.id

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[CodexSession]:
        """With the process that has the thread, as long as it may live; else the one for new work.

        Several may be at work side by side: a newer Codex has the new tasks while the former one
        ends its own. Two on one thread would not know of each other.
        """
        owner = self._operation.app_server_id or self._held_by or await self._owner_of_thread()
        line = self._tools.line
        may_live = owner is not None and not self._tools.is_gone(owner)
        if owner is not None and may_live and owner != self._released_by:
            async with line.session_for(owner) as session:
                yield session
        else:
            async with line.session() as session:
                yield session

    async def _owner_of_thread(self) -> AppServerId | None:
        """The process that another unfinished operation of ours has this thread with: the turn to
        be steered runs there."""
        thread_id = self._operation.thread_id
        if thread_id is None:
            return None
        for other in await self._case.book.read(lookup.unfinished):
            if other.thread_id == thread_id and other.app_server_id is not None:
                return other.app_server_id
        return None

    async def _make_sure_of_owner(self, session: CodexSession) -> None:
        """Only the process that had the thread, or the one after it, may be asked about it."""
        known, present = self._operation.app_server_id, session.app_server
        if known is None or known == present.id:
            return
        if known != self._released_by:
            if not self._tools.is_gone(known):
                raise OwnerElsewhere(known, present)
            self._owner_died = True
        await self._case.record(OwnerChanged(present.id))

    def _nothing_asked_of(self, session: CodexSession) -> bool:
        """Whether it is sure that no turn was asked for which may yet begin."""
        status = self._operation.status
        return status is Status.STARTING_THREAD or (
            status is Status.STARTING_TURN and self._bound_to is session
        )

    async def _is_cancelled(self) -> bool:
        """Whether somebody wants it to end before it began; then it has ended."""
        if self._operation.is_final:
            return True
        wished = await self._case.wishes()
        if not any(wish.kind is WishKind.CANCEL for wish in wished):
            return False
        await self._case.end(Cancelled())
        return True

    async def _name_thread(self, session: CodexSession, thread_id: ThreadId, title: str) -> None:
        try:
            await session.name_thread(thread_id, title)
        except CodexError as error:
            # A name is a nicety; the turn runs.
            logger.warning("thread %s keeps its own name: %s", thread_id, error)

    async def _stumbled(self, error: CodexError, failures: int) -> None:
        """Codex could not be reached or would not: give up if nothing was begun, else wait."""
        gave_up = failures >= TIMES_TRIED
        if self._operation.status is Status.STARTING_THREAD and (gave_up or _is_hopeless(error)):
            await self._case.end(Failed(_trouble(error)))
            return
        if gave_up and isinstance(error, ThreadUnreadable):
            await self._case.end(Lost(Trouble(AppServerUnavailableCode.code, str(error))))
            return
        if failures == 1:
            await self._case.record(entries=(Entry(Category.NOTICE, f"Trying again: {error}"),))
        logger.info("operation %s: %s", self._operation.id, error)
        await anyio.sleep(min(FIRST_RETRY_SECONDS * 2 ** (failures - 1), LAST_RETRY_SECONDS))

    def _thread_id(self) -> ThreadId:
        thread_id = self._operation.thread_id
        assert thread_id is not None  # noqa: S101  # the table: bound before anything else
        return thread_id

    def _intent_last_turn(self) -> TurnId | None:
        return None if self._operation.intent is None else self._operation.intent.last_turn_id


def _span_of_turn(operation: Operation) -> tracing.Span:
    return tracing.span(
        "turn",
        {
            "codex.operation.id": operation.id,
            "codex.thread.id": operation.thread_id or "",
            "codex.turn.id": operation.turn_id or "",
        },
    )


def _policy(opened: ThreadInForce) -> Policy:
    """What Codex says the thread runs with, in the public words."""
    return Policy(
        _SANDBOXES.get(opened.sandbox.kind, opened.sandbox.kind),
        opened.approval_policy,
        opened.model,
        opened.collaboration_mode,
    )


_SANDBOXES = {
    "readOnly": "read-only",
    "workspaceWrite": "workspace-write",
    "dangerFullAccess": "danger-full-access",
}


def _trouble(error: CodexError) -> Trouble:
    """Why nothing was begun, and what to do."""
    match error:
        case ThreadNotFound():
            return Trouble(ThreadNotFoundCode.code, str(error))
        case ThreadArchived():
            why = f"{error}; bring it back with codex_unarchive_thread first"
            return Trouble(SendFailed.code, why)
        case _:
            return Trouble(AppServerUnavailableCode.code, str(error))


def _is_hopeless(error: CodexError) -> bool:
    """Whether trying again cannot help: Codex said no to what was asked."""
    return isinstance(error, Refused) and not isinstance(
        error, ShuttingDown | Overloaded | ThreadElsewhere
    )


async def _end_of(turn_id: TurnId, inbox: Inbox, stop: Callable[[], Awaitable[bool]]) -> None:
    """Wait until Codex says that the turn ended, or that the thread has been idle for a while, or
    `stop` says that nobody waits for it."""
    look_at = math.inf
    while anyio.current_time() < look_at and not await stop():
        heard: list[Said] = []
        with anyio.move_on_at(look_at):
            heard = await inbox.receive_many()
        for said in heard:
            match said:
                case TurnCompleted() if said.turn_id == turn_id:
                    return
                case ThreadStatusChanged(status=status):
                    idle = status.kind == "idle"
                    look_at = anyio.current_time() + IDLE_SECONDS if idle else math.inf
                case ConnectionLost(reason=reason):
                    raise AppServerGone(reason, maybe_sent=False)
                case _:
                    pass


class OwnerElsewhere(AppServerUnavailable):
    """The app-server that has the thread is alive and is not the one we reach."""

    def __init__(self, known: AppServerId, present: AppServerIdentity) -> None:
        super().__init__(
            f"app-server {known} has the thread and is still alive, but only {present.id} can be "
            "reached; it is not asked, because it does not know"
        )
