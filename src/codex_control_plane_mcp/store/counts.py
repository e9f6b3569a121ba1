"""How many there are of what. Of those that have ended an index is read, for they get ever more."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store.interactions import IS_OPEN
from codex_control_plane_mcp.store.schema import interactions, operations


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Those of one status that have not ended."""

    count: int
    oldest: Moment


def unfinished(connection: Connection) -> Mapping[Status, Unfinished]:
    """Operations that have not ended. A status that none has is missing."""
    return {
        Status(row.status): Unfinished(row.many, row.oldest)
        for row in connection.execute(_UNFINISHED)
    }


def ended(connection: Connection) -> Mapping[Status, int]:
    """Operations that have ended, since the book began. A status that none has is missing."""
    return {Status(row.status): row.many for row in connection.execute(_ENDED)}


def turns_ended(connection: Connection, since: Moment) -> Mapping[Status, int]:
    """Operations with a turn of their own that ended at `since` or later."""
    rows = connection.execute(_TURNS_ENDED, {"since": since})
    return {Status(row.status): row.many for row in rows}


def oldest_question(connection: Connection) -> Moment | None:
    """Since when the oldest open interaction waits."""
    oldest: Moment | None = connection.scalar(_OLDEST_QUESTION)
    return oldest


_ROWS = operations.c
_MANY = func.count().label("many")
_UNFINISHED = (
    select(_ROWS.status, _MANY, func.min(_ROWS.created_at).label("oldest"))
    .where(_ROWS.completed_at.is_(None))
    .group_by(_ROWS.status)
)
_ENDED = select(_ROWS.status, _MANY).where(_ROWS.completed_at.is_not(None)).group_by(_ROWS.status)
_TURNS_ENDED = (
    select(_ROWS.status, _MANY)
    .where(
        # Named, so that the index leads to the newest of each.
        _ROWS.status.in_(sorted(status.value for status in FINAL)),
        _ROWS.completed_at >= bindparam("since"),
        _ROWS.turn_id.is_not(None),
        _ROWS.type != OperationType.STEER_TURN.value,
    )
    .group_by(_ROWS.status)
)
_OLDEST_QUESTION = select(func.min(interactions.c.created_at)).where(IS_OPEN)
