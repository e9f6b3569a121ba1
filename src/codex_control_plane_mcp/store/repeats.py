"""Which operation a task made that its caller cannot name: the newest one for each payload."""

from sqlalchemy import bindparam, delete, insert, select

from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.schema import repeats


def newest_of(writing: Writing, payload: str) -> Operation | None:
    """The operation that was remembered last for this payload. A writer is alone, so until its end
    no other one can be."""
    found = writing.connection.scalar(_NEWEST, {"payload": payload})
    return None if found is None else operations.get(writing.connection, found)


def remember(writing: Writing, payload: str, operation_id: OperationId) -> None:
    writing.connection.execute(_FORGET, {"payload": payload})
    writing.connection.execute(_REMEMBER, {"payload_hash": payload, "operation_id": operation_id})


_OF_PAYLOAD = repeats.c.payload_hash == bindparam("payload")

_NEWEST = select(repeats.c.operation_id).where(_OF_PAYLOAD)
_FORGET = delete(repeats).where(_OF_PAYLOAD)
_REMEMBER = insert(repeats)
