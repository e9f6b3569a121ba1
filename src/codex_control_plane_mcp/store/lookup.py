"""Finds what people look for: by how an id begins, and what ended last."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.store.schema import interactions, operations, workflows

#: Kinds of things by how their ids begin.
_TABLES: Final = {"op": operations, "wf": workflows, "ia": interactions}


def ids_beginning(connection: Connection, kind: str, beginning: str, limit: int) -> Sequence[str]:
    """Ids of a kind (`op`, `wf` or `ia`) that begin so, newest first."""
    column = _TABLES[kind].c.id
    return connection.scalars(
        select(column)
        .where(column.startswith(beginning, autoescape=True))
        .order_by(column.desc())
        .limit(limit)
    ).all()


def ended_last(connection: Connection, limit: int) -> Sequence[OperationId]:
    """The operations that ended last, newest end first."""
    return connection.scalars(
        select(operations.c.id)
        .where(operations.c.completed_at.is_not(None))
        .order_by(operations.c.completed_at.desc(), operations.c.id.desc())
        .limit(limit)
    ).all()
