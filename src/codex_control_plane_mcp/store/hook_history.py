"""What Codex's hooks told of turns that are not ours, for as long as it is kept."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, select, tuple_

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import clean
from codex_control_plane_mcp.store.schema import hook_history


class HookKind(StrEnum):
    #: A person opened a thread; the text says how: `startup`, `resume`, …
    SESSION = "session"
    #: What the person typed.
    PROMPT = "prompt"
    #: The last thing that Codex said in the turn.
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class HookEvent:
    #: The same event is taken in once.
    event_id: str
    kind: HookKind
    at: Moment
    thread_id: ThreadId
    #: Where it was said; None for a session.
    turn_id: TurnId | None
    cwd: str
    model: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Kept:
    """An event in its place: `seq` only grows."""

    seq: int
    event: HookEvent


#: Where an event stands among those of its thread: clocks may step back, places do not.
Place: TypeAlias = tuple[Moment, int]


def keep(writing: Writing, event: HookEvent, max_text_chars: int) -> None:
    """Write an event down, without secrets and cut to length; one that is there is left alone."""
    if writing.connection.scalar(_IS_KEPT, {"event": event.event_id}) is not None:
        return
    writing.connection.execute(
        _INSERT,
        {
            # Nobody else writes until we are done.
            "seq": last_seq(writing.connection) + 1,
            "event_id": event.event_id,
            "kind": event.kind.value,
            "at": event.at,
            "thread_id": clean(event.thread_id),
            "turn_id": event.turn_id and clean(event.turn_id),
            "cwd": clean(event.cwd),
            "model": event.model and clean(event.model),
            # Cut last: half a secret is not known for one.
            "text": clean(event.text)[:max_text_chars],
        },
    )


def last_seq(connection: Connection) -> int:
    """The place of the newest event; 0 when there is none."""
    return connection.scalar(_LAST_SEQ) or 0


def after(connection: Connection, seq: int, limit: int) -> list[Kept]:
    """The first `limit` events behind `seq`, oldest first."""
    return [_kept(row) for row in connection.execute(_AFTER, {"mark": seq, "most": limit})]


def at_seq(connection: Connection, seq: int) -> Kept | None:
    """The event with a number."""
    return _one(connection, _AT_SEQ, {"mark": seq})


def in_thread(
    connection: Connection, thread_id: ThreadId, beside: Place | None, *, back: bool
) -> Kept | None:
    """What was said in a thread next to a place; without one, first or last."""
    query, end = (_BEFORE, _LAST) if back else (_BEHIND, _FIRST)
    at, seq = beside or end
    return _one(connection, query, {"thread": thread_id, "at": at, "mark": seq})


def forget_before(writing: Writing, moment: Moment) -> int:
    """Take out the events before a moment, but for the newest of all, whose number the next ones
    go on from; gives how many they were."""
    before = {"at": moment, "mark": last_seq(writing.connection)}
    return writing.connection.execute(_FORGET, before).rowcount


def count_before(connection: Connection, moment: Moment) -> int:
    """How many `forget_before` would take out."""
    before = {"at": moment, "mark": last_seq(connection)}
    return connection.scalar(_COUNT_BEFORE, before) or 0


def _one(connection: Connection, query: Select[Any], given: dict[str, object]) -> Kept | None:
    row = connection.execute(query, given).one_or_none()
    return None if row is None else _kept(row)


def _kept(row: Row[Any]) -> Kept:
    return Kept(
        row.seq,
        HookEvent(
            event_id=row.event_id,
            kind=HookKind(row.kind),
            at=row.at,
            thread_id=row.thread_id,
            turn_id=row.turn_id,
            cwd=row.cwd,
            model=row.model,
            text=row.text,
        ),
    )


# --- Statements, made once -----------------------------------------------------------------------

#: Before and behind every place there is.
_FIRST: Final[Place] = (Moment(-1), -1)
_LAST: Final[Place] = (Moment(2**62), 2**62)

_COLUMNS = hook_history.c
_INSERT = insert(hook_history)
_IS_KEPT = select(_COLUMNS.seq).where(_COLUMNS.event_id == bindparam("event"))
_LAST_SEQ = select(func.max(_COLUMNS.seq))
_AFTER = (
    select(hook_history)
    .where(_COLUMNS.seq > bindparam("mark"))
    .order_by(_COLUMNS.seq)
    .limit(bindparam("most"))
)
_AT_SEQ = select(hook_history).where(_COLUMNS.seq == bindparam("mark"))

_PLACE = tuple_(_COLUMNS.at, _COLUMNS.seq)
_GIVEN = tuple_(bindparam("at", type_=_COLUMNS.at.type), bindparam("mark", type_=_COLUMNS.seq.type))
_IN_THREAD = select(hook_history).where(
    _COLUMNS.thread_id == bindparam("thread"), _COLUMNS.kind != HookKind.SESSION.value
)
_BEFORE = (
    _IN_THREAD.where(_PLACE < _GIVEN).order_by(_COLUMNS.at.desc(), _COLUMNS.seq.desc()).limit(1)
)
_BEHIND = _IN_THREAD.where(_PLACE > _GIVEN).order_by(_COLUMNS.at, _COLUMNS.seq).limit(1)

_OLD = (_COLUMNS.at < bindparam("at"), _COLUMNS.seq < bindparam("mark"))
_FORGET = delete(hook_history).where(*_OLD)
_COUNT_BEFORE = select(func.count()).select_from(hook_history).where(*_OLD)
