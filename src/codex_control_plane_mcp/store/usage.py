"""What operations took: tokens, and time."""

import json
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    bindparam,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import TokenUsage
from codex_control_plane_mcp.store.lookup import TAKES_TURN
from codex_control_plane_mcp.store.schema import operations


@dataclass(frozen=True, slots=True)
class Used:
    """What one operation took, as far as it is known."""

    id: OperationId
    type: str
    project_id: str
    agent_id: str | None
    started_at: Moment
    completed_at: Moment | None
    #: Of its thread, when it was last heard of.
    tokens: TokenUsage | None
    #: Of its thread, at the end of the operation before it there.
    tokens_before: TokenUsage | None
    #: Whether it is the first of ours in its thread.
    is_first: bool


def used(connection: Connection, since: Moment) -> list[Used]:
    """What each operation that began at `since` or later took, oldest first."""
    return [
        Used(
            id=row.id,
            type=row.type,
            project_id=row.project_id,
            agent_id=row.agent_id or None,
            started_at=row.started_at,
            completed_at=row.completed_at,
            tokens=_tokens(row.token_usage),
            tokens_before=_tokens(row.tokens_before),
            is_first=row.place == 1,
        )
        for row in connection.execute(_USED, {"since": since})
    ]


def _tokens(stored: str | None) -> TokenUsage | None:
    return TokenUsage(**json.loads(stored)) if stored else None


_ROWS = operations.c
#: What an operation tells without those beside it in its thread.
_OF_ITSELF = (
    _ROWS.id,
    _ROWS.type,
    _ROWS.project_id,
    _ROWS.agent_id,
    _ROWS.started_at,
    _ROWS.completed_at,
    _ROWS.token_usage,
)
#: Of those that had a turn of their own, and its tokens.
_IN_THREAD = (
    select(
        *_OF_ITSELF,
        func.lag(_ROWS.token_usage)
        .over(partition_by=_ROWS.thread_id, order_by=_ROWS.started_at)
        .label("tokens_before"),
        func.row_number()
        .over(partition_by=_ROWS.thread_id, order_by=_ROWS.started_at)
        .label("place"),
    )
    .where(
        _ROWS.started_at.is_not(None),
        _ROWS.token_usage.is_not(None),
        _ROWS.thread_id.is_not(None),
        TAKES_TURN,
    )
    .subquery()
)
#: Those without tokens took time all the same.
_USED = union_all(
    select(_IN_THREAD).where(_IN_THREAD.c.started_at >= bindparam("since")),
    select(
        *_OF_ITSELF,
        null().label("tokens_before"),
        literal(0).label("place"),
    ).where(
        _ROWS.started_at >= bindparam("since"),
        or_(_ROWS.token_usage.is_(None), _ROWS.thread_id.is_(None)),
        TAKES_TURN,
    ),
).order_by("started_at")
