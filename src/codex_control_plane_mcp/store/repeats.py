"""Which operation a task made that its caller cannot name: the newest one for each payload."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.schema import operations as operations_table
from codex_control_plane_mcp.store.schema import repeats


def newest_of(writing: Writing, payload: str) -> Operation | None:
    """The operation that was remembered last for this payload. A writer is alone, so until its end
    no other one can be."""
    found = writing.connection.scalar(_NEWEST, {"payload": payload})
    return None if found is None else lookup.get(writing.connection, found)


def remember(writing: Writing, payload: str, operation_id: OperationId) -> None:
    writing.connection.execute(_FORGET, {"payload": payload})
    writing.connection.execute(_REMEMBER, {"payload_hash": payload, "operation_id": operation_id})


def ended_before(connection: Connection, moment: Moment) -> list[OperationId]:
    """Remembered operations that ended before a moment."""
    return [OperationId(id_) for id_ in connection.scalars(_ENDED_BEFORE, {"moment": moment})]


def forget(writing: Writing, operation_ids: Sequence[OperationId]) -> None:
    """The same tasks make new operations from now on."""
    writing.connection.execute(_FORGET_THESE, {"operations": operation_ids})


_OF_PAYLOAD = repeats.c.payload_hash == bindparam("payload")

_NEWEST = select(repeats.c.operation_id).where(_OF_PAYLOAD)
_FORGET = delete(repeats).where(_OF_PAYLOAD)
_REMEMBER = insert(repeats)
_ENDED_BEFORE = (
    select(repeats.c.operation_id)
    .join(operations_table, operations_table.c.id == repeats.c.operation_id)
    .where(operations_table.c.completed_at < bindparam("moment"))
    .order_by(repeats.c.operation_id)
)
_FORGET_THESE = delete(repeats).where(
    repeats.c.operation_id.in_(bindparam("operations", expanding=True))
)
