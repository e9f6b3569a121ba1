"""Follows a turn that Codex has accepted, to its end.

One loop hears what Codex says and what doors wish, in the order it comes, and writes it down:
questions and ends at once, the rest about once a second. How it ended is taken from Codex's own
record of the turn, never from silence.
"""

import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import anyio

from codex_control_plane_mcp.codex.errors import AppServerGone, ThreadNotFound
from codex_control_plane_mcp.codex.inbox import Inbox, Said
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words.events import (
    ConnectionLost,
    ItemCompleted,
    ItemStarted,
    ServerRequestResolved,
    ThreadStatusChanged,
    TokenUsageUpdated,
    TurnCompleted,
    TurnStarted,
)
from codex_control_plane_mcp.codex.words.questions import Answerable, NotOurs
from codex_control_plane_mcp.codex.words.things import AgentMessage, FileChange, ProposedPlan, Turn
from codex_control_plane_mcp.codex.words.verbs import ResumeThread
from codex_control_plane_mcp.errors import AppServerUnavailable, StateBusy
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Completed,
    Failed,
    Interrupted,
    Lost,
    Plan,
    Report,
    TokenUsage,
    Trouble,
    TurnContinued,
)
from codex_control_plane_mcp.model.request import TaskRequest
from codex_control_plane_mcp.store import journal, lookup
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.work.case import Case
from codex_control_plane_mcp.work.evidence import (
    SETTLE_SECONDS,
    messages_of,
    newest_turn,
    read_turn,
)
from codex_control_plane_mcp.work.goals import Pursuit
from codex_control_plane_mcp.work.questions import Questions
from codex_control_plane_mcp.work.scribe import Scribe
from codex_control_plane_mcp.work.spool import Spool
from codex_control_plane_mcp.work.structured import judged

#: Streamed text is written down about so often. Shorter costs disk, longer patience.
FLUSH_SECONDS = 1.0
#: A sign of life with nothing to write (a command prints) is noted this often.
HEARD_SECONDS = 10.0
#: Where Codex goes on by itself it does within a quarter of a second; a loaded machine is slower.
NEXT_TURN_SECONDS = 30.0
#: While the book does not answer it is asked again so often, in seconds.
BOOK_AGAIN_SECONDS = 5
#: Idle without a word that the turn ended: the word is on its way, or was lost.
IDLE_SECONDS = 2.0

_SUMMED_UP = "Followed again; what happened meanwhile is summed up."

logger = logging.getLogger(__name__)


class Follower:
    """Follows the turn of one operation over one session."""

    def __init__(
        self,
        case: Case,
        session: CodexSession,
        inbox: Inbox,
        spool: Spool,
        approval_seconds: float | None,
        silence: str,
    ) -> None:
        """`silence` is the report of a turn that ends without a word."""
        self._case = case
        self._session = session
        self._inbox = inbox
        self._spool = spool
        #: What came with the present word, and is still to be heard.
        self._unheard: deque[Said] = deque()
        self._silence = silence
        self._questions = Questions(case, session, approval_seconds, self._look_now)
        self._scribe = Scribe()
        self._usage: TokenUsage | None = None
        self._was_heard = False
        self._written_at = -math.inf
        self._plan: Plan | None = None
        #: The turn, and the child that it runs in if it is a review.
        self._turn_ids = {case.operation.turn_id}
        #: When to read the turn's record, because Codex says it does nothing.
        self._look_at = math.inf
        self._pursuit = Pursuit(case, session)
        #: Set while Codex is about to go on by itself: how the operation ends if it does not.
        self._else: Completed | None = None
        self._next_by = math.inf

    async def run(self, *, subscribed: bool, owner_died: bool) -> None:
        """Follow to the end.

        `subscribed`: this session has heard everything since the turn began. `owner_died`: the
        process that ran the turn has gone. Raises AppServerGone when the line drops.
        """
        operation = self._case.operation
        with self._case.book.bell.listening(operation.id, about=Subject.WISH, on_ring=self._wake):
            missed_something = not subscribed
            while not self._case.operation.is_final:
                try:
                    if subscribed:
                        await self._pursuit.begin()
                    else:
                        await self._catch_up(owner_died, missed_something=missed_something)
                    missed_something = False
                    while not self._case.operation.is_final:
                        await self._hear(await self._next())
                except StateBusy as error:
                    logger.warning("operation %s waits for the book: %s", operation.id, error)
                    await self._only_listen()
                    subscribed = False

    def _wake(self) -> None:
        self._questions.look_at_wishes()
        self._inbox.nudge()

    def _look_now(self) -> None:
        self._look_at = -math.inf

    # --- Listening ------------------------------------------------------------------------------

    async def _next(self) -> list[Said]:
        """What Codex says next; nothing when there is something else to do."""
        if self._unheard:
            return []
        wake_at = min(self._flush_at(), self._look_at, self._next_by, self._questions.wake_at)
        with anyio.move_on_at(wake_at):
            # What streams is not written down before.
            return await self._inbox.receive_many(streams_at=self._written_at + FLUSH_SECONDS)
        return []

    async def _hear(self, said: Sequence[Said]) -> None:
        self._unheard.extend(said)
        while self._unheard:
            await self._hear_one(self._unheard.popleft())
            if self._case.operation.is_final:
                return
        now = anyio.current_time()
        if now >= self._flush_at():
            await self._flush()
        await self._questions.attend(now)
        if now >= self._look_at:
            await self._look()
        if now >= self._next_by:
            await self._nothing_came()

    async def _hear_one(self, said: Said) -> None:
        if not self._is_about_our_turn(said):
            return
        self._was_heard = True
        if self._take_note(said):
            return
        match said:
            case ConnectionLost(reason=reason):
                # Half a word stays unwritten: it is read from Codex's record, whole.
                await self._flush()
                raise AppServerGone(reason, maybe_sent=False)
            case TurnStarted(turn_id=turn_id) if self._else is not None:
                await self._go_on_with(turn_id)
            case TurnCompleted(turn=turn):
                if turn.id == self._turn_id and self._else is None:
                    await self._finish(turn)
            case ThreadStatusChanged(status=status):
                idle = status.kind == "idle"
                self._look_at = anyio.current_time() + IDLE_SECONDS if idle else math.inf
            case ServerRequestResolved(request_id=request_id):
                await self._questions.resolved(request_id)
            case NotOurs():
                pass  # The session refuses it.
            case _ if isinstance(said, Answerable):
                await self._flush()
                await self._questions.asked(said)
            case _:
                pass  # Nothing else is to be done about anything.

    def _take_note(self, said: Said) -> bool:
        """Note what Codex merely tells. False: something is to be done about it."""
        match said:
            case TokenUsageUpdated():
                self._usage = _usage(said)
            case ItemStarted(item=FileChange() as change):
                self._questions.changing(change)
                self._scribe.hear(said)
            case ItemCompleted(item=ProposedPlan(id=item_id, text=text)):
                self._plan = Plan(item_id, text)
                self._scribe.hear(said)
            case (
                ConnectionLost()
                | TurnStarted()
                | TurnCompleted()
                | ThreadStatusChanged()
                | ServerRequestResolved()
                | NotOurs()
            ):
                return False
            case _ if isinstance(said, Answerable):
                return False
            case _:
                self._scribe.hear(said)
        return True

    def _is_about_our_turn(self, said: Said) -> bool:
        if isinstance(said, TurnStarted):
            if said.turn.root_turn_id in self._turn_ids:
                self._turn_ids.add(said.turn_id)
            elif self._else is not None:
                return True
        turn_id = getattr(said, "turn_id", None)
        return turn_id is None or turn_id in self._turn_ids

    # --- Writing --------------------------------------------------------------------------------

    def _flush_at(self) -> float:
        """When what was heard is to be written down."""
        if self._scribe.has_something or self._usage is not None:
            return self._written_at + FLUSH_SECONDS
        if self._was_heard:
            return self._written_at + HEARD_SECONDS
        return math.inf

    async def _flush(self, *, all_of_it: bool = False) -> None:
        entries = self._scribe.take(all_of_it=all_of_it)
        if entries or self._usage is not None or self._was_heard:
            usage, self._usage = self._usage, None
            with self._kept_if_busy(entries, usage):
                await self._case.record(
                    entries=entries, heard=self._was_heard, token_usage=usage, patient=True
                )
        self._was_heard = False
        self._written_at = anyio.current_time()

    async def _finish(self, turn: Turn) -> None:
        """The turn is over: say so with Codex's own words."""
        said_nothing = turn.final_message is None and self._plan is None
        if turn.status == "completed" and said_nothing and turn.items_view != "full":
            turn = await self._read_turn() or turn
        self._take_in(turn)
        if self._usage is not None:
            await self._flush(all_of_it=True)
        outcome = _outcome(turn, self._plan, self._silence, self._case.operation.request)
        if not (isinstance(outcome, Completed) and await self._goes_on(outcome)):
            await self._end(outcome)

    async def _end(self, outcome: Completed | Failed | Interrupted) -> None:
        await self._pursuit.settle(completed=isinstance(outcome, Completed))
        entries = self._scribe.take(all_of_it=True)
        with self._kept_if_busy(entries, None):
            await self._case.end(outcome, entries=entries)

    # --- While the book does not answer ---------------------------------------------------------

    @contextmanager
    def _kept_if_busy(self, entries: Sequence[Entry], usage: TokenUsage | None) -> Iterator[None]:
        try:
            yield
        except StateBusy:
            self._spool.keep(entries, usage)
            raise

    async def _only_listen(self) -> None:
        """Keep what Codex says until the book answers, and write it down then."""
        waiting = list(self._unheard)
        self._unheard.clear()
        for second in count():
            for said in [*waiting, *self._inbox.take_all()]:
                self._overhear(said)
                if isinstance(said, TurnCompleted) and said.turn.id == self._turn_id:
                    self._scribe.note(Category.NOTICE, f"Codex ended the turn: {said.turn.status}.")
            waiting, usage, self._usage = [], self._usage, None
            self._spool.keep(self._scribe.take(), usage)
            if second and second % BOOK_AGAIN_SECONDS == 0 and await self._book_answers():
                return
            await anyio.sleep(FLUSH_SECONDS)

    async def _book_answers(self) -> bool:
        """Whether it does, and has what was kept. Raises Fenced when the operation is not ours any
        more."""
        known = self._case.operation
        try:
            operation = await self._case.book.read(lambda reading: lookup.get(reading, known.id))
            if operation is None or operation.generation != known.generation:
                raise Fenced(known.id)
            self._case.operation = operation
            await self._spool.drain()
        except StateBusy:
            return False
        return True

    def _overhear(self, said: Said) -> None:
        """Note what can be noted without the book. The rest is done afterwards; questions are asked
        again."""
        if (
            self._is_about_our_turn(said)
            and not self._take_note(said)
            and not isinstance(said, Answerable)
        ):
            self._unheard.append(said)

    # --- Going on by itself ---------------------------------------------------------------------

    async def _goes_on(self, outcome: Completed) -> bool:
        """Whether Codex goes on by itself, or has: then its next turn is the operation's, too."""
        if not self._pursuit.is_set:
            return False
        await self._flush(all_of_it=True)
        is_active = await self._pursuit.is_active()
        if await self._has_begun_another(is_active):
            return True
        if is_active:
            self._else, self._look_at = outcome, math.inf
            self._next_by = anyio.current_time() + NEXT_TURN_SECONDS
        return is_active

    async def _has_begun_another(self, is_active: bool) -> bool:
        """Take up the turn that Codex has begun meanwhile. One that somebody asked for is none of
        ours once the goal is done with."""
        newest = await newest_turn(self._session, self._thread_id, items_view="full")
        if newest is None or newest.id in self._turn_ids or (messages_of(newest) and not is_active):
            return False
        await self._go_on_with(newest.id)
        # What it said before is in its record; it may even have ended.
        self._look_at = anyio.current_time()
        return True

    async def _go_on_with(self, turn_id: TurnId) -> None:
        self._else, self._next_by, self._plan = None, math.inf, None
        self._turn_ids = {turn_id}
        await self._case.record(TurnContinued(turn_id), heard=True)
        self._questions.look_at_wishes()

    async def _nothing_came(self) -> None:
        """Codex said that it goes on, and does not."""
        outcome, self._else, self._next_by = self._else, None, math.inf
        if outcome is not None and not await self._has_begun_another(is_active=True):
            await self._end(outcome)

    def _take_in(self, turn: Turn) -> None:
        """What the turn said as far as its record shows; what is written already is left out."""
        for item in turn.items:
            if isinstance(item, AgentMessage | ProposedPlan):
                self._scribe.item_completed(item)
            if isinstance(item, ProposedPlan):
                self._plan = Plan(item.id, item.text)

    # --- Reading Codex's record -----------------------------------------------------------------

    async def _look(self) -> None:
        """Codex is idle and did not say that the turn ended: read its record."""
        self._look_at = math.inf
        turn = await self._read_turn()
        if turn is not None and turn.status != "inProgress" and self._else is None:
            await self._finish(turn)

    async def _catch_up(self, owner_died: bool, *, missed_something: bool) -> None:
        """Take up a turn that was not followed for a while."""
        operation = self._case.operation
        self._else, self._next_by, self._look_at = None, math.inf, math.inf
        self._questions.begin_anew()
        self._scribe = Scribe(
            await self._case.book.read(
                lambda connection: journal.written_lengths(connection, operation.id)
            )
        )
        for said in self._inbox.take_all():
            self._overhear(said)
        if owner_died:
            # Where a goal is left, Codex goes on with it as soon as the thread is loaded.
            await self._pursuit.settle(completed=False)
        turn = await self._resumed()
        if turn is None or (turn.status == "interrupted" and not self._is_whole(turn)):
            # A turn that Codex has just begun can look like this for a moment, or not be there yet;
            # so can a review at its very end.
            await anyio.sleep(SETTLE_SECONDS)
            turn = await self._resumed()
        if turn is None:
            await self._lose(f"Codex has no record of turn {operation.turn_id}")
        elif turn.status == "inProgress":
            if missed_something:
                self._scribe.note(Category.GAP, _SUMMED_UP)
            self._take_in(turn)
            self._questions.taken_up()
            await self._pursuit.begin()
        elif turn.status == "interrupted" and owner_died:
            await self._case.end(
                Interrupted(
                    Trouble(AppServerUnavailable.code, "the app-server ended during the turn")
                ),
                entries=self._scribe.take(all_of_it=True),
            )
        else:
            await self._finish(turn)

    def _is_whole(self, turn: Turn) -> bool:
        return bool(turn.items) and turn.id == self._turn_id

    async def _resumed(self) -> Turn | None:
        """Subscribe, and read the turn; None where Codex knows no such thread or turn."""
        try:
            await self._session.resume_thread(ResumeThread(self._thread_id))
        except ThreadNotFound:
            return None
        return await self._read_turn()

    async def _lose(self, why: str) -> None:
        """Nobody is left who knows how it ended."""
        await self._case.end(Lost(Trouble(AppServerUnavailable.code, why)))

    async def _read_turn(self) -> Turn | None:
        return await read_turn(self._session, self._thread_id, self._turn_id)

    @property
    def _thread_id(self) -> ThreadId:
        thread_id = self._case.operation.thread_id
        assert thread_id is not None  # noqa: S101  # the table: a turn is in a thread
        return thread_id

    @property
    def _turn_id(self) -> TurnId:
        turn_id = self._case.operation.turn_id
        assert turn_id is not None  # noqa: S101  # the table: followed once it is accepted
        return turn_id


def _outcome(
    turn: Turn, plan: Plan | None, silence: str, request: TaskRequest
) -> Completed | Failed | Interrupted:
    match turn.status:
        case "completed":
            message = turn.final_message
            said = message.text if message else plan.markdown if plan else silence
            return Completed(judged(Report(said, turn.id, plan), request))
        case "interrupted":
            return Interrupted()
        case status:
            error = turn.error
            return Failed(
                Trouble("CODEX_TURN_FAILED", f"Codex ended the turn: {status}")
                if error is None
                else Trouble(error.code or "CODEX_TURN_FAILED", error.message)
            )


def _usage(said: TokenUsageUpdated) -> TokenUsage:
    total = said.total
    return TokenUsage(
        input=total.input_tokens,
        cached_input=total.cached_input_tokens,
        output=total.output_tokens,
        reasoning_output=total.reasoning_output_tokens,
        total=total.total_tokens,
        context_window=said.model_context_window,
    )
