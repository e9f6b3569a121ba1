"""What Codex asks during one turn, and the answers on their way to it.

A question is on record before anybody can see it. An answer is a wish; it counts once Codex has
said that it waits no longer. The fact that an answer is about to be sent is stored first, so that
after a crash it is known that it may have arrived.
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from codex_control_plane_mcp.clock import Moment, later, seconds_between
from codex_control_plane_mcp.codex.answering import build_answer, describe
from codex_control_plane_mcp.codex.errors import CodexError, NoActiveTurn, WrongActiveTurn
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words.answers import NotOnOffer, declining
from codex_control_plane_mcp.codex.words.events import RequestId
from codex_control_plane_mcp.codex.words.questions import Answerable
from codex_control_plane_mcp.codex.words.things import ChangedFile, FileChange
from codex_control_plane_mcp.model.ids import InteractionId, ThreadId, TurnId, new_interaction_id
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus, Kind
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    ApprovalAwaited,
    Fact,
    Operation,
    Resumed,
    Status,
    UserInputAwaited,
)
from codex_control_plane_mcp.store import interactions, operations, wishes
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.wishes import Outcome, Wish, WishKind
from codex_control_plane_mcp.work.case import Case, close
from codex_control_plane_mcp.work.evidence import read_turn

logger = logging.getLogger(__name__)

#: Codex sends open requests again when a thread is resumed, within milliseconds.
ASKED_AGAIN_SECONDS = 3.0
#: Who answers when nobody does.
NOBODY_IN_TIME = "timeout"
#: A wish that could not be granted is looked at again after this long.
TRY_AGAIN_SECONDS = 2.0
#: A turn becomes active within milliseconds of its acceptance.
INTERRUPT_AGAIN_SECONDS = 0.2


@dataclass(slots=True)
class _Open:
    """A question that Codex waits for, over this session."""

    interaction: Interaction
    request: Answerable
    #: On the clock of `anyio.current_time`.
    expires_at: float
    sent: Wish | None = None


class Questions:
    """The open questions of one turn over one session."""

    def __init__(
        self,
        case: Case,
        session: CodexSession,
        approval_seconds: float | None,
        on_look: Callable[[], None],
    ) -> None:
        """`on_look` is called where somebody wants Codex's record of the turn to be read."""
        self._on_look = on_look
        self._case = case
        self._session = session
        self._approval_seconds = approval_seconds
        self._open: dict[InteractionId, _Open] = {}
        #: What Codex is about to change, by item: it asks without saying it again.
        self._changing: dict[str, tuple[ChangedFile, ...]] = {}
        #: Whether doors may wish something that was not looked at yet.
        self._wished = True
        #: When a wish that could not be granted is looked at again.
        self._again_at = math.inf
        #: When questions of an earlier session, not asked again, are given up.
        self._give_up_at = math.inf
        #: The turn that Codex was told to end.
        self._interrupted: TurnId | None = None

    @property
    def wake_at(self) -> float:
        """When `attend` has something to do, if nothing happens before."""
        expiries = (one.expires_at for one in self._open.values() if one.sent is None)
        at_once = -math.inf if self._wished else math.inf
        return min(at_once, self._again_at, self._give_up_at, *expiries)

    def look_at_wishes(self) -> None:
        """Somebody wishes something."""
        self._wished = True

    def begin_anew(self) -> None:
        """The turn was not followed for a while: Codex asks again what is open."""
        self._open.clear()
        self._wished, self._interrupted = True, None

    def changing(self, change: FileChange) -> None:
        """Codex is about to change files, if it may."""
        self._changing = {change.id: change.files}

    async def asked(self, request: Answerable) -> None:
        """Codex asks something, for the first time or again."""
        files = self._changing.get(request.item_id or "", ())
        asked = describe(request, self._session.app_server.id, files)

        kinds = [one.interaction.asked.kind for one in self._open.values()]

        def write(
            writing: Writing, operation: Operation
        ) -> tuple[Operation, tuple[Interaction, float]]:
            # Before anything else: a notice of it waits for those of others.
            operations.held(writing, [operation.id])
            interaction = interactions.open_interaction(
                writing,
                new_interaction_id(writing.now),
                operation.id,
                asked,
                later(writing.now, self._approval_seconds) if self._approval_seconds else None,
            )
            if interaction.status is not InteractionStatus.PENDING:
                return operation, (interaction, math.inf)
            moved = operations.record(
                writing,
                operation,
                *_standing(operation, [*kinds, asked.kind]),
                entries=[Entry(Category.INTERACTION, f"Codex asks: {asked.prompt}")],
                heard=True,
            )
            return moved, (interaction, _seconds_left(writing.now, interaction))

        interaction, seconds = await self._case.write(write)
        if interaction.status is InteractionStatus.PENDING:
            expires_at = anyio.current_time() + seconds
            self._open[interaction.id] = _Open(interaction, request, expires_at)
            # Somebody may have answered while another session asked.
            self._wished = True

    async def resolved(self, request_id: RequestId) -> None:
        """Codex no longer waits for this one: it has an answer, or needs none."""
        for interaction_id, one in self._open.items():
            if one.interaction.asked.request_id == json.dumps(request_id):
                await self._close(interaction_id, one.sent)
                return

    def taken_up(self) -> None:
        """The turn is followed over a new session: what is still open is asked again soon."""
        self._give_up_at = anyio.current_time() + ASKED_AGAIN_SECONDS

    async def attend(self, now: float) -> None:
        """Grant what doors wish, decline what nobody answered in time."""
        for interaction_id, one in self._open.items():
            if one.sent is None and now >= one.expires_at:
                await self._decline_for_nobody(interaction_id)
                one.expires_at = math.inf
        if self._wished or now >= self._again_at:
            self._wished, self._again_at = False, math.inf
            for wish in await self._case.wishes():
                await self._grant(wish, now)
        if now >= self._give_up_at:
            self._give_up_at = math.inf
            await self._close_those_not_asked_again()

    # --- Wishes ---------------------------------------------------------------------------------

    async def _grant(self, wish: Wish, now: float) -> None:
        try:
            match wish.kind:
                case WishKind.CANCEL:
                    await self._interrupt(now)
                case WishKind.ANSWER:
                    await self._answer(wish)
                case WishKind.LOOK:
                    self._on_look()
                    await self._case.record(
                        also=lambda writing: wishes.fulfil(writing, wish, Outcome.DONE)
                    )
        except CodexError as error:
            # The line drops or Codex is slow: the wish stays, and is looked at again.
            logger.info("operation %s: %s", self._case.operation.id, error)
            self._again_at = now + TRY_AGAIN_SECONDS

    async def _interrupt(self, now: float) -> None:
        operation = self._case.operation
        if operation.thread_id is None or operation.turn_id in (None, self._interrupted):
            return
        try:
            await self._session.interrupt_turn(operation.thread_id, operation.turn_id)
            self._interrupted = operation.turn_id
        except WrongActiveTurn as error:
            await self._interrupt_child(operation.thread_id, operation.turn_id, TurnId(error.found))
            self._again_at = now + INTERRUPT_AGAIN_SECONDS
        except NoActiveTurn:
            # It has ended, and its end is on the way to us; or it was accepted a moment ago and
            # does not count as active yet.
            self._again_at = now + INTERRUPT_AGAIN_SECONDS

    async def _interrupt_child(
        self, thread_id: ThreadId, turn_id: TurnId, active_id: TurnId
    ) -> None:
        """A review runs in a child turn, and only that can be interrupted."""
        active = await read_turn(self._session, thread_id, active_id)
        if active is not None and active.root_turn_id == turn_id:
            await self._session.interrupt_turn(thread_id, active_id)

    async def _answer(self, wish: Wish) -> None:
        one = None if wish.interaction_id is None else self._open.get(wish.interaction_id)
        if one is None or one.sent is not None:
            return  # Not asked (again) yet, or on its way.
        try:
            payload = (
                declining(one.request)
                if wish.made_by == NOBODY_IN_TIME
                else build_answer(one.request, _given(wish))
            )
        except NotOnOffer as error:
            await self._refuse_wish(wish, str(error))
            return
        # Recorded with the operation, so that a worker who has been fenced off sends nothing.
        await self._case.record(also=lambda writing: wishes.about_to_send(writing, wish))
        if payload is None:
            await self._session.refuse(one.request.request_id, "nobody answered in time")
        else:
            await self._session.answer(one.request.request_id, payload)
        one.sent = wish

    async def _refuse_wish(self, wish: Wish, why: str) -> None:
        await self._case.record(
            entries=[Entry(Category.ERROR, f"The answer cannot be given to Codex: {why}")],
            also=lambda writing: wishes.fulfil(writing, wish, Outcome.REFUSED),
        )

    async def _decline_for_nobody(self, interaction_id: InteractionId) -> None:
        """Nobody answered in time. A person who answers at the same moment may still be first."""
        operation_id = self._case.operation.id

        def wish(writing: Writing) -> None:
            wishes.wish_answer(writing, operation_id, interaction_id, {}, NOBODY_IN_TIME)

        # Recorded with the operation: a worker who has been fenced off decides nothing.
        await self._case.record(also=wish)

    # --- Ends -----------------------------------------------------------------------------------

    async def _close(self, interaction_id: InteractionId, wish: Wish | None) -> None:
        one = self._open.pop(interaction_id, None)
        kinds = [other.interaction.asked.kind for other in self._open.values()]
        status = _ended(one, wish)
        said = "No answer is needed any more." if wish is None else f"Answered by {wish.made_by}."
        await self._case.record(
            *_standing(self._case.operation, kinds),
            entries=[Entry(Category.INTERACTION, said)],
            heard=True,
            also=lambda writing: close(writing, interaction_id, status, wish),
        )

    async def _close_those_not_asked_again(self) -> None:
        """Codex does not wait for them any more: it has got the answer that was sent, or it was
        answered elsewhere. An answer to an app-server that died does not count."""
        sent = {
            wish.interaction_id: wish
            for wish in await self._case.wishes()
            if wish.kind is WishKind.ANSWER and wish.sent_at is not None
        }
        for interaction in await self._case.open_interactions():
            if interaction.id not in self._open:
                same_process = interaction.asked.app_server_id == self._session.app_server.id
                await self._close(
                    interaction.id, sent.get(interaction.id) if same_process else None
                )


def _ended(one: _Open | None, wish: Wish | None) -> InteractionStatus:
    if wish is None:
        return InteractionStatus.WITHDRAWN
    if wish.made_by != NOBODY_IN_TIME:
        return InteractionStatus.ANSWERED
    if one is not None and declining(one.request) is None:
        return InteractionStatus.EXPIRED
    return InteractionStatus.AUTO_DECLINED


def _standing(operation: Operation, kinds: list[Kind]) -> list[Fact]:
    """The fact that brings the status in line with what Codex waits for, if it is not."""
    if any(kind in (Kind.APPROVAL, Kind.PERMISSIONS) for kind in kinds):
        return [] if operation.status is Status.WAITING_FOR_APPROVAL else [ApprovalAwaited()]
    if kinds:
        return [] if operation.status is Status.WAITING_FOR_USER_INPUT else [UserInputAwaited()]
    return [] if operation.status is Status.RUNNING else [Resumed()]


def _seconds_left(now: Moment, interaction: Interaction) -> float:
    """Until nobody's answer is waited for any more."""
    if interaction.expires_at is None:
        return math.inf
    return seconds_between(now, interaction.expires_at)


def _given(wish: Wish) -> dict[str, object]:
    return wish.payload if isinstance(wish.payload, dict) else {}
