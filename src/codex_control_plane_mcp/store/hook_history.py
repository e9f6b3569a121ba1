"""What Codex's hooks told of turns that are not ours, for as long as it is kept."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, bindparam, func, insert, select

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
    rows = connection.execute(_AFTER, {"mark": seq, "most": limit})
    return [
        Kept(
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
        for row in rows
    ]


# --- Statements, made once -----------------------------------------------------------------------

_INSERT = insert(hook_history)
_IS_KEPT = select(hook_history.c.seq).where(hook_history.c.event_id == bindparam("event"))
_LAST_SEQ = select(func.max(hook_history.c.seq))
_AFTER = (
    select(hook_history)
    .where(hook_history.c.seq > bindparam("mark"))
    .order_by(hook_history.c.seq)
    .limit(bindparam("most"))
)
