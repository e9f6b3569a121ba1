"""Waiting for changes without missing one: listen, look, and only then wait."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.status import lines, not_found
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import FINAL, WITH_TURN, Status
from codex_control_plane_mcp.store import interactions, operations
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book, Reading

MAX_WAIT_SECONDS = 45.0

#: A call that starts something answers after this long at the latest: storing and looking take
#: their time too, and clients give up after 60 seconds.
ANSWER_SECONDS = 40.0

#: More are told by the next call: a result must stay short.
MAX_LINES = 20

WAITS_FOR_PEOPLE = frozenset({Status.WAITING_FOR_APPROVAL, Status.WAITING_FOR_USER_INPUT})

#: For `reached`: its turn runs, or never will.
STARTED = WITH_TURN | FINAL
#: For `reached`: nothing comes of waiting longer.
ENDED_OR_ASKS = FINAL | WAITS_FOR_PEOPLE


@dataclass(frozen=True, slots=True)
class Stand:
    """How far an operation has come, as far as somebody who waits cares."""

    status: Status
    last_seq: int
    status_seq: int
    #: How many questions Codex has ever asked in it: a second one changes no status.
    asked: int

    @property
    def place(self) -> tuple[int, int]:
        """Equal as long as neither the status changed nor a question was asked."""
        return self.status_seq, self.asked


Stands = Mapping[OperationId, Stand]


def stands(reading: Reading, ids: Sequence[OperationId]) -> dict[OperationId, Stand]:
    """In the order given. Raises OperationNotFound naming those that do not exist."""
    marks = operations.marks(reading, ids)
    if missing := [id_ for id_ in ids if id_ not in marks]:
        raise not_found(missing)
    asked = interactions.asked_counts(reading, ids)
    return {
        id_: Stand(marks[id_].status, marks[id_].last_seq, marks[id_].status_seq, asked.get(id_, 0))
        for id_ in ids
    }


async def until(
    book: Book, ids: Sequence[OperationId], seconds: float, enough: Callable[[Stands], bool]
) -> tuple[Stands, bool]:
    """How things stand once that is `enough`, or after `seconds`; and whether it is."""
    with book.bell.listening(*ids, about=Subject.FACT) as listener:
        now = await book.read(lambda reading: stands(reading, ids))
        with anyio.move_on_after(max(0.0, seconds)):
            while not enough(now):
                await listener.wait()
                now = await book.read(lambda reading: stands(reading, ids))
    return now, enough(now)


async def reached(
    book: Book, operation_id: OperationId, statuses: frozenset[Status], seconds: float
) -> None:
    """Return once the operation has one of these statuses, or after `seconds`."""
    await until(book, [operation_id], seconds, lambda now: now[operation_id].status in statuses)


async def next_change(
    book: Book, operation_id: OperationId, seconds: float, after_seq: int | None
) -> None:
    """Return when something is new: any entry behind `after_seq`, or without that another status
    or a new question; at once where nothing will change any more."""
    first: list[Stand] = []

    def enough(now: Stands) -> bool:
        stand = now[operation_id]
        first.append(stand)
        if stand.status in FINAL:
            return True
        if after_seq is not None:
            return stand.last_seq > after_seq
        return stand.place != first[0].place

    await until(book, [operation_id], seconds, enough)


async def changed(
    book: Book, ids: Sequence[OperationId], seconds: float, cursor: str | None
) -> views.WaitView:
    """Those of `ids` that changed since `cursor`, as soon as there is one.

    Without a cursor, those that are final or wait for a person count as changed.
    """
    seen: dict[OperationId, tuple[int, int]] | None = None if cursor is None else _seen(ids, cursor)
    first: list[Stands] = []

    def is_news(id_: OperationId, stand: Stand) -> bool:
        if seen is not None:
            return stand.place != seen[id_]
        return (
            stand.status in FINAL
            or stand.status in WAITS_FOR_PEOPLE
            or stand.place != first[0][id_].place
        )

    def enough(now: Stands) -> bool:
        first.append(now)
        nothing_to_come = all(stand.status in FINAL for stand in now.values())
        return nothing_to_come or any(is_news(id_, stand) for id_, stand in now.items())

    now, in_time = await until(book, ids, seconds, enough)
    news = [id_ for id_, stand in now.items() if is_news(id_, stand)]
    told, untold = news[:MAX_LINES], news[MAX_LINES:]

    def look(reading: Reading) -> tuple[views.OperationLine, ...]:
        return lines(reading, operations.many(reading, told))

    return views.WaitView(
        operations=await book.read(look),
        # Of what was seen before the lines were read: a change in between comes again, not never.
        cursor=_cursor(now, frozenset(untold)),
        timed_out=not in_time,
        unfinished=sum(stand.status not in FINAL for stand in now.values()),
    )


def _cursor(now: Stands, untold: frozenset[OperationId]) -> str:
    places = (
        "0.0" if id_ in untold else f"{stand.status_seq}.{stand.asked}"
        for id_, stand in now.items()
    )
    return f"{_digest(list(now))}-{'-'.join(places)}"


def _seen(ids: Sequence[OperationId], cursor: str) -> dict[OperationId, tuple[int, int]]:
    digest, *places = cursor.split("-")
    if digest != _digest(ids):
        raise InvalidArgument(
            "cursor belongs to other operation_ids; leave it out, or name the same ones in the "
            "same order",
            field="cursor",
        )
    try:
        pairs = [_pair(place) for place in places]
    except ValueError:
        pairs = []
    if len(pairs) != len(ids):
        raise InvalidArgument(
            "cursor is none that codex_wait gave; leave it out to start anew", field="cursor"
        )
    return dict(zip(ids, pairs, strict=True))


def _pair(place: str) -> tuple[int, int]:
    status_seq, asked = place.split(".")
    return int(status_seq), int(asked)


def _digest(ids: Sequence[OperationId]) -> str:
    return hashlib.sha256("\n".join(ids).encode("utf-8", "replace")).hexdigest()[:8]
