"""Waiting for changes without missing one: listen, look, and only then wait."""

import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import TypeVar

import anyio

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.status import lines, not_found, open_questions
from codex_control_plane_mcp.desk.workflows.standing import found, present
from codex_control_plane_mcp.desk.workflows.status import line as workflow_line
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import InteractionId, OperationId, WorkflowId
from codex_control_plane_mcp.model.operation import FINAL, WITH_TURN, Status
from codex_control_plane_mcp.model.request import digest
from codex_control_plane_mcp.model.workflow import ENDED, UNDECIDED, Phase
from codex_control_plane_mcp.store import interactions, lookup
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book, Reading

T = TypeVar("T")

MAX_WAIT_SECONDS = 45.0

#: A call that starts something answers after this long at the latest: storing and looking take
#: their time too, and clients give up after 60 seconds.
ANSWER_SECONDS = 40.0

#: More are told by the next call: a result must stay short.
MAX_LINES = 20

#: Questions that are remembered as shown. One that is forgotten is shown once more.
MAX_SHOWN = 1_000

#: Told what a call waits for, for as long as it does: its caller may want to hear how that stands.
awaited: ContextVar[Callable[[Sequence[OperationId]], None]] = ContextVar(
    "awaited", default=lambda _ids: None
)

WAITS_FOR_PEOPLE = frozenset({Status.WAITING_FOR_APPROVAL, Status.WAITING_FOR_USER_INPUT})

#: For `reached`: its turn runs, or never will.
STARTED = WITH_TURN | FINAL
#: For `reached`: nothing comes of waiting longer.
ENDED_OR_ASKS = FINAL | WAITS_FOR_PEOPLE


class Until(StrEnum):
    """What ends a wait, beside its time."""

    #: Something has ended, or wants an answer or a decision. An agent pays for each return with a
    #: request of its model, and has nothing to do at the others.
    ATTENTION = "attention"
    #: Another status, too.
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Watched:
    """What somebody waits for. The sequences say in which order it is told."""

    operations: Sequence[OperationId]
    workflows: Sequence[WorkflowId] = ()

    @property
    def ids(self) -> list[str]:
        return [*self.operations, *self.workflows]


@dataclass(frozen=True, slots=True)
class Stand:
    """How far an operation has come, as far as somebody who waits cares."""

    status: Status
    last_seq: int
    status_seq: int
    #: How many questions Codex has ever asked in it: a second one changes no status.
    asked: int
    #: What wants somebody: questions, but for those whose answer is on its way, and that the host
    #: is lost.
    calls: frozenset[str]
    #: Since when the host is lost that has it.
    lost_since: Moment | None

    @property
    def place(self) -> str:
        """Equal as long as neither the status changed nor a question was asked, nor its host was
        lost or came back."""
        return f"{self.status_seq}.{self.asked}{'' if self.lost_since is None else _LOST}"

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL

    @property
    def rests(self) -> bool:
        """Nothing more will come by itself."""
        return self.has_ended

    @property
    def wants_somebody(self) -> bool:
        return self.rests or bool(self.calls)


@dataclass(frozen=True, slots=True)
class WorkflowStand:
    """The same of a workflow."""

    operation_ids: tuple[OperationId, ...]
    phase: Phase
    #: Equal as long as it is in the same phase, with the same plan and the same questions, and its
    #: host is there or not.
    place: str
    #: As of an operation.
    calls: frozenset[str]

    @property
    def has_ended(self) -> bool:
        return self.phase in ENDED

    @property
    def rests(self) -> bool:
        return self.phase in ENDED | UNDECIDED

    @property
    def wants_somebody(self) -> bool:
        return self.rests or bool(self.calls)


class Shown:
    """The questions that callers have been shown, and hosts that they were told are lost. What a
    caller knows does not end its waits, or whoever leaves it to others would be called without
    end."""

    def __init__(self) -> None:
        self._last: deque[tuple[str, str]] = deque(maxlen=MAX_SHOWN)

    def note(self, by: str, questions: Sequence[views.InteractionView]) -> None:
        if questions:  # few looks
            self.told(by, [one.interaction_id for one in questions])

    def told(self, by: str, calls: Collection[str]) -> None:
        known = self.to(by)
        self._last.extend((by, one) for one in calls if one not in known)

    def to(self, by: str) -> Set[str]:
        return {call for who, call in self._last if who == by}


Stands = Mapping[str, Stand | WorkflowStand]
OperationStands = Mapping[OperationId, Stand]


def stands(reading: Reading, ids: Sequence[OperationId], now: Moment) -> dict[OperationId, Stand]:
    """In the order given. Raises OperationNotFound naming those that do not exist."""
    marks = lookup.marks(reading, ids, now)
    if missing := [id_ for id_ in ids if id_ not in marks]:
        raise not_found(missing)
    asked = interactions.asked_counts(reading, ids)
    unanswered = _unanswered(reading, {id_: mark.status for id_, mark in marks.items()})
    return {
        id_: Stand(
            marks[id_].status,
            marks[id_].last_seq,
            marks[id_].status_seq,
            asked.get(id_, 0),
            unanswered.get(id_, frozenset()) | _loss(id_, marks[id_].lost_since),
            marks[id_].lost_since,
        )
        for id_ in ids
    }


def _unanswered(
    reading: Reading, statuses: Mapping[OperationId, Status]
) -> Mapping[OperationId, frozenset[InteractionId]]:
    """The questions of each that want an answer."""
    waiting = [id_ for id_, status in statuses.items() if status in WAITS_FOR_PEOPLE]
    if not waiting:  # most looks: they cost nothing more
        return {}
    asked = open_questions(reading, waiting)
    return {id_: frozenset(one.id for one in asked[id_]) for id_ in waiting}


def _loss(id_: OperationId, since: Moment | None) -> frozenset[str]:
    """That the host is lost which has an operation, by another name each time."""
    return frozenset() if since is None else frozenset({f"{id_} lost since {since}"})


def workflow_stand(reading: Reading, workflow_id: WorkflowId, now: Moment) -> WorkflowStand:
    """Raises WorkflowNotFound."""
    workflow = found(reading, workflow_id)
    at = present(reading, workflow)
    asked = interactions.asked_counts(reading, [at.operation.id])
    plans = [plan.hash for plan in (at.proposal, at.candidate) if plan is not None]
    unanswered = _unanswered(reading, {at.operation.id: at.operation.status})
    questions = unanswered.get(at.operation.id, frozenset())
    marks = lookup.marks(reading, [at.operation.id], now) if at.operation.host else {}
    loss = frozenset[str]().union(*(_loss(id_, mark.lost_since) for id_, mark in marks.items()))
    place = digest([at.phase, at.operation.id, plans, list(asked.values()), bool(loss)])[:8]
    return WorkflowStand(workflow.operation_ids, at.phase, place, questions | loss)


async def until(
    book: Book,
    ids: Sequence[OperationId],
    seconds: float,
    enough: Callable[[OperationStands], bool],
) -> tuple[OperationStands, bool]:
    """How things stand once that is `enough`, or after `seconds`; and whether it is."""
    return await _until(
        book, lambda reading: stands(reading, ids, book.now()), seconds, enough, lambda _: ids
    )


async def _until(
    book: Book,
    look: Callable[[Reading], T],
    seconds: float,
    enough: Callable[[T], bool],
    concerned: Callable[[T], Sequence[OperationId]],
) -> tuple[T, bool]:
    now = await book.glance(look)
    with anyio.move_on_after(max(0.0, seconds)):
        while not enough(now):
            ids = concerned(now)
            awaited.get()(ids)
            with book.bell.listening(*ids, about=Subject.FACT) as listener:
                now = await book.glance(look)
                while not enough(now) and concerned(now) == ids:
                    await listener.wait()
                    now = await book.glance(look)
    return now, enough(now)


async def reached(
    book: Book, operation_id: OperationId, statuses: frozenset[Status], seconds: float
) -> None:
    """Return once the operation has one of these statuses, or after `seconds`."""
    await until(book, [operation_id], seconds, lambda now: now[operation_id].status in statuses)


async def attention(
    book: Book, operation_id: OperationId, seconds: float, known: Set[str]
) -> Set[str]:
    """Return when the operation has ended, or something that is not `known` wants somebody, or
    after `seconds`. Returns what does then."""

    def enough(now: OperationStands) -> bool:
        return _calls(now[operation_id], known)

    now, _ = await until(book, [operation_id], seconds, enough)
    return now[operation_id].calls


async def next_entry(book: Book, operation_id: OperationId, seconds: float, after_seq: int) -> None:
    """Return when there is an entry behind `after_seq`; at once where nothing more will come."""

    def enough(now: OperationStands) -> bool:
        stand = now[operation_id]
        return stand.has_ended or stand.last_seq > after_seq

    await until(book, [operation_id], seconds, enough)


async def attention_of_workflow(
    book: Book, workflow_id: WorkflowId, seconds: float, known: Set[str]
) -> Set[str]:
    """Return when nothing more will come of the workflow by itself, or something that is not
    `known` wants somebody, or after `seconds`. Returns what does then."""
    now, _ = await _until(
        book,
        lambda reading: workflow_stand(reading, workflow_id, book.now()),
        seconds,
        lambda now: _calls(now, known),
        lambda now: now.operation_ids,
    )
    return now.calls


def _calls(now: Stand | WorkflowStand, known: Set[str]) -> bool:
    return now.rests or not now.calls <= known


async def changed(
    book: Book, watched: Watched, seconds: float, cursor: str | None, what: Until
) -> views.WaitView:
    """What of `watched` changed since `cursor`, as soon as there is something.

    Without a cursor, what has ended or wants somebody counts as changed.
    """
    seen: dict[str, str] | None = None if cursor is None else _seen(watched.ids, cursor)
    first: list[Stands] = []

    def look(reading: Reading) -> Stands:
        return dict(
            chain[tuple[str, Stand | WorkflowStand]](
                stands(reading, watched.operations, book.now()).items(),
                ((id_, workflow_stand(reading, id_, book.now())) for id_ in watched.workflows),
            )
        )

    def concerned(now: Stands) -> Sequence[OperationId]:
        belong = [one.operation_ids for one in now.values() if isinstance(one, WorkflowStand)]
        return [*watched.operations, *chain.from_iterable(belong)]

    def is_news(id_: str, one: Stand | WorkflowStand) -> bool:
        before = first[0][id_].place if seen is None else seen[id_]
        match what:
            case Until.ATTENTION:
                return one.wants_somebody and (seen is None or one.place != before)
            case Until.CHANGE:
                return one.place != before or (seen is None and one.wants_somebody)

    def enough(now: Stands) -> bool:
        first.append(now)
        nothing_to_come = all(one.has_ended for one in now.values())
        return nothing_to_come or any(is_news(id_, one) for id_, one in now.items())

    now, in_time = await _until(book, look, seconds, enough, concerned)
    news = [id_ for id_, one in now.items() if is_news(id_, one)]
    told, untold = frozenset(news[:MAX_LINES]), frozenset(news[MAX_LINES:])

    def show(reading: Reading) -> views.WaitView:
        of_ours = [id_ for id_ in watched.operations if id_ in told]
        return views.WaitView(
            operations=lines(reading, lookup.many(reading, of_ours)),
            workflows=tuple(
                workflow_line(reading, found(reading, id_))
                for id_ in watched.workflows
                if id_ in told
            ),
            # Of what was seen before the lines were read: a change in between comes again, not
            # never.
            cursor=_cursor(now, untold),
            timed_out=not in_time,
            unfinished=sum(not one.has_ended for one in now.values()),
        )

    return await book.glance(show)


def _cursor(now: Stands, untold: frozenset[str]) -> str:
    places = (_UNTOLD if id_ in untold else one.place for id_, one in now.items())
    return f"{_digest(list(now))}-{'-'.join(places)}"


def _seen(ids: Sequence[str], cursor: str) -> dict[str, str]:
    digest, *places = cursor.split("-")
    if digest != _digest(ids):
        raise InvalidArgument(
            "cursor belongs to other ids; leave it out, or name the same ones in the same order",
            field="cursor",
        )
    if len(places) != len(ids) or not all(map(_PLACE.fullmatch, places)):
        raise InvalidArgument(
            "cursor is none that codex_wait gave; leave it out to start anew", field="cursor"
        )
    return dict(zip(ids, places, strict=True))


#: No place of anything.
_UNTOLD = "0.0"
#: Behind the place of what a lost host has.
_LOST = "x"
_PLACE = re.compile(rf"\d+\.\d+{_LOST}?|[0-9a-f]{{8}}")


def _digest(ids: Sequence[str]) -> str:
    return digest(list(ids))[:8]
