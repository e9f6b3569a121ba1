"""Finds operations: one by what names it, those of a kind, pages of them; and ids by how they
begin. It only reads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    literal_column,
    null,
    or_,
    select,
    text,
)

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    Generation,
    HostId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
)
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.request import OperationType, TurnOptions, options_of
from codex_control_plane_mcp.store.hosts import LOST_SINCE, lost_if
from codex_control_plane_mcp.store.rows import STATUSES, operation_of
from codex_control_plane_mcp.store.schema import interactions, operations, workflows


def get(connection: Connection, operation_id: OperationId) -> Operation | None:
    return _one(connection, _BY_ID, operation_id)


def by_client_request(
    connection: Connection, client_request_id: str
) -> tuple[Operation, str] | None:
    """The operation that this `client_request_id` made, and the hash of its payload."""
    row = connection.execute(_BY_CLIENT_REQUEST, {"key": client_request_id}).one_or_none()
    return None if row is None else (operation_of(row), row.payload_hash)


def unfinished_with_prompt(connection: Connection, key: str) -> Operation | None:
    return _one(connection, _UNFINISHED_WITH_PROMPT, key)


def by_turn(connection: Connection, thread_id: ThreadId, turn_id: TurnId) -> Operation | None:
    """The operation whose turn it is; not those that only steered it."""
    row = connection.execute(_BY_TURN, {"thread": thread_id, "turn": turn_id}).one_or_none()
    return None if row is None else operation_of(row)


def newest_in_thread(connection: Connection, thread_id: ThreadId) -> Operation | None:
    """The operation that last touched a thread: it knows where the thread works."""
    return _one(connection, _NEWEST_IN_THREAD, thread_id)


def options_in_thread(connection: Connection, thread_id: ThreadId) -> TurnOptions | None:
    """How the newest turn of a thread was asked to run; None where none of ours was."""
    newest = _one(connection, _NEWEST_WITH_OPTIONS, thread_id)
    return None if newest is None else options_of(newest.request)


def many(connection: Connection, ids: Sequence[OperationId]) -> list[Operation]:
    """Those of `ids` that exist, in the order given."""
    return in_order(connection, AMONG, ids)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an operation has come; a change of it is worth waking somebody."""

    status: Status
    last_seq: int
    status_seq: int
    #: Since when the host is lost that has it in hand.
    lost_since: Moment | None = None


def marks(
    connection: Connection, ids: Sequence[OperationId], now: Moment
) -> dict[OperationId, Mark]:
    """The marks of those of `ids` that exist: a few columns, for those who only wait."""
    if connection.dialect.name == "postgresql":
        rows = connection.execute(_MARKS_IN_FLEET, {"ids": ids, **lost_if(now)})
    else:
        rows = connection.execute(_MARKS, {"ids": ids})
    return {
        id_: Mark(STATUSES[status], last_seq, status_seq, lost_since)
        for id_, status, last_seq, status_seq, lost_since in rows
    }


def every(connection: Connection) -> list[Operation]:
    """The whole book, oldest first: for checks of small ones."""
    return [operation_of(row) for row in connection.execute(ALL.order_by(operations.c.id))]


def unfinished(connection: Connection) -> list[Operation]:
    return [operation_of(row) for row in connection.execute(_ALL_UNFINISHED)]


def of_host(connection: Connection, host: HostId) -> list[OperationId]:
    """What a host has in hand, and what waits for it alone."""
    return [OperationId(id_) for id_ in connection.scalars(_OF_HOST, {"host": host})]


def owned(connection: Connection, generation: Generation) -> list[Operation]:
    """What the worker of a generation has claimed or taken over, and not ended."""
    return [operation_of(row) for row in connection.execute(_OWNED, {"generation": generation})]


def recent_troubles(connection: Connection, limit: int) -> list[Operation]:
    """The operations that last ended badly, newest first."""
    return [operation_of(row) for row in connection.execute(_TROUBLED, {"most": limit})]


def projects(connection: Connection) -> list[tuple[ProjectId, str, Moment]]:
    """Every project that had an operation: id, and of the one that was submitted last the folder
    and when it was last touched; newest first."""
    rows = connection.execute(_PROJECTS)
    return [(row.project_id, row.cwd, row.updated_at) for row in rows]


def newest(
    connection: Connection,
    limit: int,
    *,
    before: OperationId | None = None,
    thread_id: ThreadId | None = None,
    project_id: str | None = None,
    statuses: Collection[Status] = (),
) -> list[Operation]:
    """The operations (of one thread, project or kind of status, or all) that were submitted last,
    or last before another: newest first. Their ids sort by that time."""
    query = ALL.order_by(_ROWS.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_ROWS.id < before)
    if thread_id is not None:
        query = query.where(_ROWS.thread_id == thread_id)
    if project_id is not None:
        query = query.where(_ROWS.project_id == project_id)
    if statuses:
        query = query.where(_ROWS.status.in_([status.value for status in statuses]))
    return [operation_of(row) for row in connection.execute(query)]


def ended_last(connection: Connection, limit: int) -> list[Operation]:
    """The operations that ended last, newest end first."""
    return [operation_of(row) for row in connection.execute(_ENDED_LAST, {"most": limit})]


def ids_beginning(connection: Connection, kind: str, beginning: str, limit: int) -> Sequence[str]:
    """Ids of a kind (`op`, `wf` or `ia`) that begin so, newest first."""
    column = _TABLES[kind].c.id
    return connection.scalars(
        select(column)
        .where(column.startswith(beginning, autoescape=True))
        .order_by(column.desc())
        .limit(limit)
    ).all()


def heads(connection: Connection) -> dict[OperationId, int]:
    """How far the journal of each operation has come."""
    return {row.id: row.last_seq for row in connection.execute(_HEADS)}


def maybe_of_turn(connection: Connection, thread_id: ThreadId, turn_id: TurnId) -> list[Operation]:
    """Operations that have to do with a turn, or may: whose own is not known, or not the only one,
    for a review runs in a child of its turn, and a goal in one turn after the other."""
    rows = connection.execute(_MAYBE_OF_TURN, {"thread": thread_id, "turn": turn_id})
    return [operation_of(row) for row in rows]


def in_order(
    connection: Connection, query: Select[Any], ids: Sequence[OperationId]
) -> list[Operation]:
    rows = connection.execute(query, {"ids": ids}) if ids else ()
    found = {row.id: operation_of(row) for row in rows}
    return [found[id_] for id_ in ids if id_ in found]


def _one(connection: Connection, query: Select[Any], key: str) -> Operation | None:
    row = connection.execute(query, {"key": key}).one_or_none()
    return None if row is None else operation_of(row)


# --- Statements --------------------------------------------------------------------------------
# Made once: to make one takes SQLAlchemy longer than SQLite needs to answer it. Partial indexes are
# used only when their condition stands in the query to the letter.

_ROWS = operations.c
#: Kinds of things by how their ids begin.
_TABLES: Final = {"op": operations, "wf": workflows, "ia": interactions}
_KEY: ColumnElement[str] = bindparam("key")

ALL: Select[Any] = select(operations)
_AMONG_IDS = _ROWS.id.in_(bindparam("ids", expanding=True))
AMONG = ALL.where(_AMONG_IDS)
UNFINISHED = _ROWS.completed_at.is_(None)
NOT_QUEUED: ColumnElement[bool] = literal_column("status <> 'queued'")
TAKES_TURN: ColumnElement[bool] = literal_column("type <> 'steer_turn'")

_ALL_UNFINISHED = ALL.where(UNFINISHED).order_by(_ROWS.created_at)
_TROUBLED = (
    ALL.where(_ROWS.trouble_code.is_not(None))
    .order_by(_ROWS.updated_at.desc())
    .limit(bindparam("most"))
)
_OF_HOST = select(_ROWS.id).where(UNFINISHED, _ROWS.host == bindparam("host"))
_OWNED = ALL.where(UNFINISHED, NOT_QUEUED, _ROWS.generation == bindparam("generation"))
_BY_ID = ALL.where(_ROWS.id == _KEY)
_BY_CLIENT_REQUEST = ALL.where(_ROWS.client_request_id == _KEY)
_UNFINISHED_WITH_PROMPT = ALL.where(_ROWS.prompt_key == _KEY, UNFINISHED)
_NEWEST_IN_THREAD = ALL.where(_ROWS.thread_id == _KEY).order_by(_ROWS.created_at.desc()).limit(1)
_NEWEST_WITH_OPTIONS = _NEWEST_IN_THREAD.where(
    literal_column(
        "type IN ('start_chat', 'send_message', 'execute_plan', 'fork_thread', 'review')"
    )
)
_BY_TURN = (
    ALL.where(
        _ROWS.thread_id == bindparam("thread"),
        _ROWS.turn_id == bindparam("turn"),
        TAKES_TURN,
    )
    .order_by(_ROWS.created_at.desc())
    .limit(1)
)
_HOW_FAR = select(_ROWS.id, _ROWS.status, _ROWS.last_seq, _ROWS.status_seq).where(_AMONG_IDS)
_MARKS = _HOW_FAR.add_columns(null())
_MARKS_IN_FLEET = _HOW_FAR.add_columns(text(LOST_SINCE))
#: From one project to the next along the index: the number of operations does not matter.
_PROJECTS = text(
    """WITH RECURSIVE known (project_id) AS (
        SELECT min(project_id) FROM operations
        UNION ALL
        SELECT (SELECT min(project_id) FROM operations WHERE project_id > known.project_id)
        FROM known WHERE known.project_id IS NOT NULL
    )
    SELECT last.project_id, last.cwd, last.updated_at
    FROM known JOIN operations AS last ON last.id = (
        SELECT id FROM operations WHERE project_id = known.project_id
        ORDER BY created_at DESC LIMIT 1
    )
    ORDER BY last.updated_at DESC
    """
)
_ENDED_LAST = (
    ALL.where(_ROWS.completed_at.is_not(None))
    .order_by(_ROWS.completed_at.desc(), _ROWS.id.desc())
    .limit(bindparam("most"))
)
_HEADS = select(_ROWS.id, _ROWS.last_seq)
_MAYBE_OF_TURN = ALL.where(
    _ROWS.thread_id == bindparam("thread"),
    or_(
        _ROWS.turn_id == bindparam("turn"),
        _ROWS.turn_id.is_(None),
        _ROWS.type.in_([OperationType.REVIEW.value, OperationType.EXECUTE_PLAN.value]),
    ),
)
