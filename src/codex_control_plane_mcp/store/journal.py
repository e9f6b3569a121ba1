"""Reads the journal. It is written by the pen only (`store.operations`)."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.store.schema import journal


def after(connection: Connection, operation_id: OperationId, seq: int, limit: int) -> list[Written]:
    """The first `limit` entries behind `seq`, oldest first."""
    rows = connection.execute(_AFTER, {"operation": operation_id, "mark": seq, "most": limit})
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
    wanted = {"operation": operation_id, "most": limit}
    if category is not None:
        rows = connection.execute(_NEWEST_OF, wanted | {"category": category.value})
    elif without is not None:
        rows = connection.execute(_NEWEST_WITHOUT, wanted | {"category": without.value})
    else:
        rows = connection.execute(_NEWEST, wanted)
    return [_written(row) for row in rows][::-1]


def chronicle(
    connection: Connection, operation_id: OperationId, categories: Sequence[Category]
) -> list[Written]:
    """All of an operation's entries of these categories, oldest first."""
    rows = connection.execute(
        _OF_OPERATION.where(journal.c.category.in_(categories)).order_by(journal.c.seq),
        {"operation": operation_id},
    )
    return [_written(row) for row in rows]


def written_lengths(connection: Connection, operation_id: OperationId) -> dict[str, int]:
    """How many characters the journal holds of each of Codex's items, by item id."""
    rows = connection.execute(
        select(journal.c.item_id, func.sum(func.length(journal.c.text)))
        .where(journal.c.operation_id == operation_id, journal.c.item_id.is_not(None))
        .group_by(journal.c.item_id)
    )
    return {item_id: int(length) for item_id, length in rows}


def said_after(connection: Connection, operation_id: OperationId, seq: int) -> list[Written]:
    """What the model said or planned behind `seq`, oldest first."""
    rows = connection.execute(_SAID_AFTER, {"operation": operation_id, "mark": seq})
    return [_written(row) for row in rows]


def _written(row: Sequence[Any]) -> Written:
    _, seq, at, category, text, item_id = row  # As a tuple: this is read more than anything else.
    return Written(seq, at, _CATEGORIES[category], text, item_id)


_CATEGORIES = {category.value: category for category in Category}

# --- Statements, made once -----------------------------------------------------------------------

_OF_OPERATION = select(journal).where(journal.c.operation_id == bindparam("operation"))
_AFTER = (
    _OF_OPERATION.where(journal.c.seq > bindparam("mark"))
    .order_by(journal.c.seq)
    .limit(bindparam("most"))
)
_NEWEST = _OF_OPERATION.order_by(journal.c.seq.desc()).limit(bindparam("most"))
_NEWEST_OF = _NEWEST.where(journal.c.category == bindparam("category"))
_NEWEST_WITHOUT = _NEWEST.where(journal.c.category != bindparam("category"))
_SAID_AFTER = (
    _OF_OPERATION.where(journal.c.seq > bindparam("mark"))
    .where(journal.c.category.in_([Category.ASSISTANT.value, Category.PLAN.value]))
    .where(journal.c.item_id.is_not(None))
    .order_by(journal.c.seq)
)
