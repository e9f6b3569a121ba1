"""Questions of Codex: opened and closed by the workshop, listed by the desk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, tuple_, update

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    InteractionId,
    OperationId,
    ThreadId,
    TurnId,
    WorkflowId,
)
from codex_control_plane_mcp.model.interaction import (
    Asked,
    Interaction,
    InteractionStatus,
    Kind,
    Option,
    Question,
)
from codex_control_plane_mcp.redact import redact_json
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.schema import interactions, operations


def open_interaction(
    writing: Writing,
    interaction_id: InteractionId,
    operation_id: OperationId,
    asked: Asked,
    expires_at: Moment | None,
) -> Interaction:
    """Put a question on record. The same question asked again (Codex repeats an open one to each
    new connection) is the interaction that is already there."""
    known = by_request(writing.connection, operation_id, asked.app_server_id, asked.request_id)
    if known is not None:
        return known
    writing.connection.execute(
        _INSERT,
        {
            "id": interaction_id,
            "operation_id": operation_id,
            "app_server_id": asked.app_server_id,
            "request_id": asked.request_id,
            "kind": asked.kind.value,
            "method": asked.method,
            "thread_id": asked.thread_id,
            "turn_id": asked.turn_id,
            "item_id": asked.item_id,
            "asked": _asked_to_json(asked),
            "status": InteractionStatus.PENDING.value,
            "created_at": writing.now,
            "expires_at": expires_at,
        },
    )
    writing.tell(operation_id, Subject.FACT)
    opened = get(writing.connection, interaction_id)
    assert opened is not None  # noqa: S101  # it was inserted in this very transaction
    if writing.outbox is not None:
        writing.outbox.opened(writing, opened)
    return opened


def close_interaction(
    writing: Writing,
    interaction: Interaction,
    status: InteractionStatus,
    *,
    answered_by: str | None = None,
    answer: object = None,
) -> bool:
    """Say how an interaction ended; whether it was still open. The first end stays."""
    changed = writing.connection.execute(
        update(interactions)
        .where(interactions.c.id == interaction.id, IS_OPEN)
        .values(
            status=status.value,
            closed_at=writing.now,
            answered_by=answered_by,
            answered_at=None if answered_by is None else writing.now,
            answer=None if answer is None else json.dumps(redact_json(answer)),
        )
    )
    writing.tell(interaction.operation_id, Subject.FACT)
    return changed.rowcount == 1


def get(connection: Connection, interaction_id: InteractionId) -> Interaction | None:
    row = connection.execute(_GET, {"interaction": interaction_id}).one_or_none()
    return None if row is None else _interaction(row)


def by_request(
    connection: Connection, operation_id: OperationId, app_server_id: AppServerId, request_id: str
) -> Interaction | None:
    row = connection.execute(
        _BY_REQUEST,
        {"operation": operation_id, "app_server": app_server_id, "request": request_id},
    ).one_or_none()
    return None if row is None else _interaction(row)


def open_of(connection: Connection, operation_id: OperationId) -> list[Interaction]:
    rows = connection.execute(_OPEN_OF, {"operation": operation_id})
    return [_interaction(row) for row in rows]


def open_of_many(
    connection: Connection, operation_ids: Sequence[OperationId]
) -> dict[OperationId, list[Interaction]]:
    """The open interactions of several operations in one query."""
    rows = connection.execute(_OPEN_OF_MANY, {"operations": operation_ids})
    found: dict[OperationId, list[Interaction]] = {id_: [] for id_ in operation_ids}
    for row in rows:
        found[row.operation_id].append(_interaction(row))
    return found


def open_count(connection: Connection) -> int:
    """How many interactions are open."""
    return connection.scalar(_OPEN_COUNT) or 0


def asked_counts(
    connection: Connection, operation_ids: Sequence[OperationId]
) -> dict[OperationId, int]:
    """How many interactions there ever were of each operation that had any."""
    rows = connection.execute(_ASKED_COUNTS, {"operations": operation_ids})
    return {row.operation_id: row.asked for row in rows}


@dataclass(frozen=True, slots=True)
class Search:
    """Which interactions to list. `None` is no condition."""

    status: InteractionStatus | None = InteractionStatus.PENDING
    operation_id: OperationId | None = None
    workflow_id: WorkflowId | None = None
    thread_id: ThreadId | None = None
    turn_id: TurnId | None = None


def listed(
    connection: Connection, search: Search, *, behind: tuple[int, str] | None, limit: int
) -> list[Interaction]:
    """Interactions, oldest first, behind the (created_at, id) of the last one seen."""
    columns = interactions.c
    query = select(interactions).order_by(columns.created_at, columns.id).limit(limit)
    if search.status is InteractionStatus.PENDING:
        query = query.where(IS_OPEN)
    elif search.status is not None:
        query = query.where(columns.status == search.status.value)
    if search.operation_id is not None:
        query = query.where(columns.operation_id == search.operation_id)
    if search.workflow_id is not None:
        ours = select(operations.c.id).where(operations.c.workflow_id == search.workflow_id)
        query = query.where(columns.operation_id.in_(ours))
    if search.thread_id is not None:
        query = query.where(columns.thread_id == search.thread_id)
    if search.turn_id is not None:
        query = query.where(columns.turn_id == search.turn_id)
    if behind is not None:
        query = query.where(tuple_(columns.created_at, columns.id) > tuple_(*behind))
    return [_interaction(row) for row in connection.execute(query)]


def closed_last(
    connection: Connection, limit: int, *, operation_id: OperationId | None = None
) -> list[Interaction]:
    """Those that need no answer any more (of one operation, or all), newest first."""
    columns = interactions.c
    query = select(interactions).where(columns.closed_at.is_not(None))
    if operation_id is not None:
        query = query.where(columns.operation_id == operation_id)
    query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)
    return [_interaction(row) for row in connection.execute(query)]


def _interaction(row: Row[Any]) -> Interaction:
    return Interaction(
        id=row.id,
        operation_id=row.operation_id,
        asked=_asked(row),
        status=InteractionStatus(row.status),
        created_at=row.created_at,
        expires_at=row.expires_at,
        closed_at=row.closed_at,
        answered_by=row.answered_by,
        answered_at=row.answered_at,
        answer=None if row.answer is None else json.loads(row.answer),
    )


def _asked_to_json(asked: Asked) -> str:
    return json.dumps(
        redact_json(
            {
                "prompt": asked.prompt,
                "command": asked.command,
                "cwd": asked.cwd,
                "reason": asked.reason,
                "available_decisions": list(asked.available_decisions),
                "questions": [
                    {
                        "id": question.id,
                        "header": question.header,
                        "text": question.text,
                        "options": [
                            [option.label, option.description] for option in question.options
                        ],
                        "is_secret": question.is_secret,
                    }
                    for question in asked.questions
                ],
                "risk_summary": asked.risk_summary,
                "details": asked.details,
            }
        )
    )


def _asked(row: Row[Any]) -> Asked:
    data = json.loads(row.asked)
    return Asked(
        app_server_id=row.app_server_id,
        request_id=row.request_id,
        kind=Kind(row.kind),
        method=row.method,
        thread_id=row.thread_id,
        turn_id=row.turn_id,
        item_id=row.item_id,
        prompt=data["prompt"],
        command=data["command"],
        cwd=data["cwd"],
        reason=data["reason"],
        available_decisions=tuple(data["available_decisions"]),
        questions=tuple(
            Question(
                id=question["id"],
                header=question["header"],
                text=question["text"],
                options=tuple(Option(*option) for option in question["options"]),
                is_secret=question["is_secret"],
            )
            for question in data["questions"]
        ),
        risk_summary=data["risk_summary"],
        details=data["details"],
    )


# --- Statements, made once -----------------------------------------------------------------------

_OF_OPERATION = interactions.c.operation_id == bindparam("operation")
_OF_OPERATIONS = interactions.c.operation_id.in_(bindparam("operations", expanding=True))
#: Of an interaction: that Codex waits for its answer.
IS_OPEN = interactions.c.closed_at.is_(None)

_INSERT = insert(interactions)
_GET = select(interactions).where(interactions.c.id == bindparam("interaction"))
_BY_REQUEST = select(interactions).where(
    _OF_OPERATION,
    interactions.c.app_server_id == bindparam("app_server"),
    interactions.c.request_id == bindparam("request"),
)
_OPEN = select(interactions).where(IS_OPEN).order_by(interactions.c.created_at, interactions.c.id)
_OPEN_OF = _OPEN.where(_OF_OPERATION)
_OPEN_OF_MANY = _OPEN.where(_OF_OPERATIONS)
_OPEN_COUNT = select(func.count()).select_from(interactions).where(IS_OPEN)
_ASKED_COUNTS = (
    select(interactions.c.operation_id, func.count().label("asked"))
    .where(_OF_OPERATIONS)
    .group_by(interactions.c.operation_id)
)
