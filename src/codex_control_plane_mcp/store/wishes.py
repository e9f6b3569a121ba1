"""What doors want of a running operation: an answer to Codex, or its end.

The desk makes a wish, the workshop takes it up, acts, and says what came of it.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, and_, bindparam, insert, literal_column, or_, select, update
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import InteractionId, OperationId, new_wish_id
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.interactions import IS_OPEN
from codex_control_plane_mcp.store.schema import interactions, wishes


class WishKind(StrEnum):
    ANSWER = "answer"
    CANCEL = "cancel"
    #: Read in Codex's own record whether the turn has ended.
    LOOK = "look"


class Outcome(StrEnum):
    #: Codex got it.
    DONE = "done"
    #: There was nothing left to do it to.
    MOOT = "moot"
    #: Codex would not have it.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Wish:
    id: str
    operation_id: OperationId
    kind: WishKind
    interaction_id: InteractionId | None
    #: The answer as JSON data; empty for the others. Once an answer is delivered it is emptied, for
    #: it may hold a secret: the interaction keeps what may be kept.
    payload: object
    made_by: str
    created_at: Moment
    #: When it was about to be sent to Codex. Stored before it is sent: it may have arrived.
    sent_at: Moment | None


def wish_answer(
    writing: Writing,
    operation_id: OperationId,
    interaction_id: InteractionId,
    payload: object,
    made_by: str,
) -> bool:
    """Store the answer somebody gave; False when another answer was first."""
    return _insert(writing, operation_id, WishKind.ANSWER, interaction_id, payload, made_by)


def wish_cancel(writing: Writing, operation_id: OperationId, made_by: str) -> bool:
    """Store that somebody wants it to end; False when somebody already does."""
    return _insert(writing, operation_id, WishKind.CANCEL, None, {}, made_by)


def wish_look(writing: Writing, operation_id: OperationId, made_by: str) -> None:
    """Store that somebody wants Codex's record of the turn to be read."""
    _insert(writing, operation_id, WishKind.LOOK, None, {}, made_by)


def about_to_send(writing: Writing, wish: Wish) -> None:
    """Say that a wish is on its way, before it is: after a crash it may or may not have arrived."""
    writing.connection.execute(_SEND, {"wish": wish.id, "sent_at": writing.now})


def fulfil(writing: Writing, wish: Wish, outcome: Outcome) -> None:
    """Say what came of a wish."""
    writing.connection.execute(
        _FULFIL,
        {"wish": wish.id, "done_at": writing.now, "outcome": outcome.value, "payload": "{}"},
    )
    writing.tell(wish.operation_id, Subject.FACT)


def open_wishes(connection: Connection, operation_id: OperationId | None = None) -> list[Wish]:
    """Wishes not yet fulfilled, oldest first."""
    rows = (
        connection.execute(_OPEN)
        if operation_id is None
        else connection.execute(_OPEN_OF, {"operation": operation_id})
    )
    return [
        Wish(
            id=row.id,
            operation_id=row.operation_id,
            kind=WishKind(row.kind),
            interaction_id=row.interaction_id,
            payload=json.loads(row.payload),
            made_by=row.made_by,
            created_at=row.created_at,
            sent_at=row.sent_at,
        )
        for row in rows
    ]


def leaves_anything(connection: Connection, operation_id: OperationId) -> bool:
    """Whether a wish or a question of an operation is open."""
    return bool(connection.scalar(_LEAVES, {"operation": operation_id}))


def is_unwanted(connection: Connection, operation_id: OperationId) -> bool:
    """Whether somebody wants it to end."""
    return connection.scalar(_CANCEL_OF, {"operation": operation_id}) is not None


def newest_answer(
    connection: Connection, interaction_id: InteractionId
) -> tuple[str, Outcome | None] | None:
    """Who last answered an interaction, and what came of it; None while nobody has."""
    row = connection.execute(_NEWEST_ANSWER, {"interaction": interaction_id}).one_or_none()
    return None if row is None else (row.made_by, Outcome(row.outcome) if row.outcome else None)


def answers_on_their_way(connection: Connection) -> frozenset[InteractionId]:
    """Interactions that somebody has answered and Codex has not got yet."""
    return frozenset(connection.scalars(_ANSWERED))


def _insert(
    writing: Writing,
    operation_id: OperationId,
    kind: WishKind,
    interaction_id: InteractionId | None,
    payload: object,
    made_by: str,
) -> bool:
    try:
        with writing.connection.begin_nested():
            writing.connection.execute(
                _INSERT,
                {
                    "id": new_wish_id(writing.now),
                    "operation_id": operation_id,
                    "kind": kind.value,
                    "interaction_id": interaction_id,
                    "payload": json.dumps(payload),
                    "made_by": made_by,
                    "created_at": writing.now,
                },
            )
    except IntegrityError:
        return False
    writing.tell(operation_id, Subject.WISH)
    if kind is WishKind.CANCEL:
        writing.tell(operation_id, Subject.QUEUE)
    return True


# --- Statements, made once: SQLAlchemy takes longer to make one than SQLite to answer it ----------

_OF_WISH = wishes.c.id == bindparam("wish")
_OF_OPERATION = wishes.c.operation_id == bindparam("operation")
_NOT_DONE = wishes.c.done_at.is_(None)
#: Of a wish: that an operation end, and it has not.
WANTS_END = and_(_NOT_DONE, wishes.c.kind == literal_column("'cancel'"))

_INSERT = insert(wishes)
_SEND = update(wishes).where(_OF_WISH)
_FULFIL = update(wishes).where(_OF_WISH, _NOT_DONE)
_OPEN = select(wishes).where(_NOT_DONE).order_by(wishes.c.created_at, wishes.c.id)
_OPEN_OF = _OPEN.where(_OF_OPERATION)
_CANCEL_OF = select(wishes.c.id).where(_OF_OPERATION, WANTS_END)
_LEAVES = select(
    or_(
        select(wishes.c.id).where(_OF_OPERATION, _NOT_DONE).exists(),
        select(interactions.c.id)
        .where(interactions.c.operation_id == bindparam("operation"), IS_OPEN)
        .exists(),
    )
)
_ANSWERED = select(wishes.c.interaction_id).where(_NOT_DONE, wishes.c.interaction_id.is_not(None))
_NEWEST_ANSWER = (
    select(wishes.c.made_by, wishes.c.outcome)
    .where(wishes.c.interaction_id == bindparam("interaction"))
    # Of those that count there is one at most; the wall clock may have stepped back since.
    .order_by(
        literal_column("CASE outcome WHEN 'refused' THEN 1 WHEN 'moot' THEN 1 ELSE 0 END"),
        wishes.c.created_at.desc(),
        wishes.c.id.desc(),
    )
    .limit(1)
)
