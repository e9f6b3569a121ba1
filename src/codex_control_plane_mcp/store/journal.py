"""Reads the journal. It is written by the pen only (`store.operations`)."""

from typing import Any

from sqlalchemy import Connection, Row, func, select

from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.store.schema import journal


def after(connection: Connection, operation_id: OperationId, seq: int, limit: int) -> list[Written]:
    """The first `limit` entries behind `seq`, oldest first."""
    rows = connection.execute(
        select(journal)
        .where(journal.c.operation_id == operation_id, journal.c.seq > seq)
        .order_by(journal.c.seq)
        .limit(limit)
    )
    return [_written(row) for row in rows]


def newest(
    connection: Connection,
    operation_id: OperationId,
    limit: int,
    category: Category | None = None,
    *,
    without: Category | None = None,
) -> list[Written]:
    """The last `limit` entries (of one category, or of all but one), oldest first."""
    query = select(journal).where(journal.c.operation_id == operation_id)
    if category is not None:
        query = query.where(journal.c.category == category.value)
    if without is not None:
        query = query.where(journal.c.category != without.value)
    rows = connection.execute(query.order_by(journal.c.seq.desc()).limit(limit))
    return [_written(row) for row in rows][::-1]


def written_lengths(connection: Connection, operation_id: OperationId) -> dict[str, int]:
    """How many characters the journal holds of each of Codex's items, by item id."""
    rows = connection.execute(
        select(journal.c.item_id, func.sum(func.length(journal.c.text)))
        .where(journal.c.operation_id == operation_id, journal.c.item_id.is_not(None))
        .group_by(journal.c.item_id)
    )
    return {item_id: int(length) for item_id, length in rows}


def _written(row: Row[Any]) -> Written:
    return Written(
        seq=row.seq,
        at=row.at,
        category=Category(row.category),
        text=row.text,
        item_id=row.item_id,
    )
