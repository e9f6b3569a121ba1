"""Reads operations as chats: by project, by thread, by turn.

However many operations there are, only those are read that are shown.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Select, bindparam, literal_column, select, tuple_

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.schema import operations as table

#: Where an operation stands in the order of their making.
Place: TypeAlias = tuple[Moment, OperationId]


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread that operations worked in."""

    newest: Operation
    is_archived: bool


@dataclass(frozen=True, slots=True)
class Unfinished:
    """As much of an unfinished operation as it takes to choose among many."""

    id: OperationId
    project_id: ProjectId
    thread_id: ThreadId | None
    status: Status


def unfinished(connection: Connection) -> list[Unfinished]:
    """Newest first."""
    return [
        Unfinished(row.id, row.project_id, row.thread_id, Status(row.status))
        for row in connection.execute(_UNFINISHED)
    ]


def threads(
    connection: Connection, project_id: ProjectId, before: Place | None, limit: int
) -> list[Thread]:
    """The threads of a project: that of the newest operation first, and only those `before` a
    place."""
    rows = connection.execute(
        _THREADS, {"project": project_id, "most": limit, **_beside(before or _LAST)}
    ).all()
    found = lookup.many(connection, [row.id for row in rows])
    return [
        Thread(operation, _is_archived(row.filed))
        for operation, row in zip(found, rows, strict=True)
    ]


def unfinished_in_thread(connection: Connection, thread_id: ThreadId) -> list[Operation]:
    """Oldest first."""
    ids = list(connection.scalars(_UNFINISHED_IN_THREAD, {"thread": thread_id}))
    return lookup.many(connection, ids)


def latest_plan(connection: Connection, thread_id: ThreadId) -> Operation | None:
    """The operation that last came to a plan in a thread."""
    return _one(connection, _LATEST_PLAN, {"thread": thread_id})


def is_archived(connection: Connection, thread_id: ThreadId) -> bool:
    """Whether the last of ours that filed a thread put it away."""
    return _is_archived(connection.scalar(_FILED, {"thread": thread_id}))


def first_in_thread(connection: Connection, thread_id: ThreadId) -> Operation | None:
    """The operation with which a thread began for us."""
    return operation_in_thread(connection, thread_id, None, back=False)


def by_turn_alone(connection: Connection, turn_id: TurnId) -> Operation | None:
    """The operation whose turn it is, whatever its thread."""
    return _one(connection, _BY_TURN, {"turn": turn_id})


def operation_in_thread(
    connection: Connection, thread_id: ThreadId, beside: Place | None, *, back: bool
) -> Operation | None:
    """The operation of a thread next to a place; without one, the first or the last."""
    query, end = (_BEFORE, _LAST) if back else (_BEHIND, _FIRST)
    return _one(connection, query, {"thread": thread_id, **_beside(beside or end)})


def _one(connection: Connection, query: Select[Any], given: dict[str, object]) -> Operation | None:
    id_ = connection.scalar(query, given)
    return None if id_ is None else lookup.get(connection, id_)


def _beside(place: Place) -> dict[str, object]:
    at, id_ = place
    return {"at": at, "id": id_}


def _is_archived(filed: str | None) -> bool:
    return filed == OperationType.ARCHIVE_THREAD.value


#: Before and behind every place there is.
_FIRST: Final[Place] = (Moment(-1), OperationId(""))
_LAST: Final[Place] = (Moment(2**62), OperationId("~"))

# --- Statements, made once -----------------------------------------------------------------------

_COLUMNS = table.c
_PLACE = tuple_(_COLUMNS.created_at, _COLUMNS.id)
_GIVEN = tuple_(
    bindparam("at", type_=_COLUMNS.created_at.type), bindparam("id", type_=_COLUMNS.id.type)
)
#: A partial index is used only when its condition stands in the query to the letter.
_IS_UNFINISHED = _COLUMNS.completed_at.is_(None)

_UNFINISHED = (
    select(_COLUMNS.id, _COLUMNS.project_id, _COLUMNS.thread_id, _COLUMNS.status)
    .where(_IS_UNFINISHED)
    .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
)
_BY_TURN = (
    select(_COLUMNS.id)
    .where(_COLUMNS.turn_id == bindparam("turn"), literal_column("type <> 'steer_turn'"))
    .order_by(_COLUMNS.created_at.desc())
    .limit(1)
)

_IN_THREAD = select(_COLUMNS.id).where(_COLUMNS.thread_id == bindparam("thread"))
_UNFINISHED_IN_THREAD = _IN_THREAD.where(_IS_UNFINISHED).order_by(_COLUMNS.created_at, _COLUMNS.id)
_LATEST_PLAN = (
    _IN_THREAD.where(_COLUMNS.plan_item_id.is_not(None))
    .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
    .limit(1)
)
_BEFORE = (
    _IN_THREAD.where(_PLACE < _GIVEN)
    .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
    .limit(1)
)
_BEHIND = _IN_THREAD.where(_PLACE > _GIVEN).order_by(_COLUMNS.created_at, _COLUMNS.id).limit(1)


def _filed(thread_id: Any) -> Select[Any]:
    filing = table.alias("filing")
    return (
        select(filing.c.type)
        .where(
            filing.c.thread_id == thread_id,
            filing.c.type.in_(
                [literal_column("'archive_thread'"), literal_column("'unarchive_thread'")]
            ),
            filing.c.status == literal_column("'completed'"),
        )
        .order_by(filing.c.created_at.desc())
        .limit(1)
    )


_FILED = _filed(bindparam("thread"))
_LATER = table.alias("later")
_THREADS = (
    select(_COLUMNS.id, _filed(_COLUMNS.thread_id).scalar_subquery().label("filed"))
    .where(
        _COLUMNS.project_id == bindparam("project"),
        _PLACE < _GIVEN,
        _COLUMNS.thread_id.is_not(None),
        ~select(_LATER.c.id)
        .where(
            _LATER.c.thread_id == _COLUMNS.thread_id,
            tuple_(_LATER.c.created_at, _LATER.c.id) > _PLACE,
        )
        .exists(),
    )
    .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
    .limit(bindparam("most"))
)
