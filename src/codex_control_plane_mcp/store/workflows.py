"""Workflows: a row for each, over operations that are the pen's (`store.operations`).

One transaction writes at a time, so a row that it has read is still so when it writes.
"""

import json
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from codex_control_plane_mcp.model.ids import OperationId, ThreadId, WorkflowId
from codex_control_plane_mcp.model.operation import Operation, Plan
from codex_control_plane_mcp.model.plain import from_plain, to_plain
from codex_control_plane_mcp.model.workflow import (
    Adoption,
    Approval,
    Proposal,
    Sighting,
    Terms,
    Workflow,
    WorkflowKind,
)
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.lookup import many
from codex_control_plane_mcp.store.operations import clean
from codex_control_plane_mcp.store.schema import operations, workflows

# --- Writing -------------------------------------------------------------------------------------


def insert_workflow(writing: Writing, workflow: Workflow, payload_hash: str) -> Workflow:
    """Put a new workflow on record, beside its first operation."""
    workflow = replace(workflow, title=workflow.title and clean(workflow.title))
    writing.connection.execute(
        _INSERT,
        {
            "id": workflow.id,
            "kind": workflow.kind.value,
            "client_request_id": workflow.client_request_id,
            "payload_hash": payload_hash,
            "project_id": workflow.project_id,
            "cwd": workflow.cwd,
            "title": workflow.title,
            "terms": _dumped(workflow.terms),
            "created_at": workflow.created_at,
            **_columns(workflow),
        },
    )
    return workflow


def add_operation(writing: Writing, workflow: Workflow, operation_id: OperationId) -> Workflow:
    """One more operation belongs to it; it is on record already."""
    ids = (*workflow.operation_ids, operation_id)
    return _update(writing, replace(workflow, operation_ids=ids))


def adopt(writing: Writing, workflow: Workflow, adoption: Adoption) -> Workflow:
    """Somebody took a plan as this workflow's."""
    kept = replace(adoption, note=adoption.note and clean(adoption.note))
    return _update(writing, replace(workflow, adoption=kept))


def approve(writing: Writing, workflow: Workflow, approval: Approval) -> Workflow:
    """Somebody let its plan be carried out, by an operation that is on record already. Who asks
    twice is the desk's question."""
    ids = (*workflow.operation_ids, approval.operation_id)
    return _update(writing, replace(workflow, operation_ids=ids, approval=approval))


def _update(writing: Writing, workflow: Workflow) -> Workflow:
    moved = replace(workflow, updated_at=max(writing.now, workflow.updated_at))
    writing.connection.execute(_UPDATE, {"workflow": workflow.id, **_columns(moved)})
    for operation_id in moved.operation_ids:  # Whoever waits for one of them looks again.
        writing.tell(operation_id, Subject.FACT)
    return moved


# --- Reading -------------------------------------------------------------------------------------


def get(connection: Connection, workflow_id: WorkflowId) -> Workflow | None:
    row = connection.execute(_BY_ID, {"key": workflow_id}).one_or_none()
    return None if row is None else _workflow(row)


def by_client_request(
    connection: Connection, client_request_id: str
) -> tuple[Workflow, str] | None:
    """The workflow that this `client_request_id` made, and the hash of its payload."""
    row = connection.execute(_BY_CLIENT_REQUEST, {"key": client_request_id}).one_or_none()
    return None if row is None else (_workflow(row), row.payload_hash)


def newest(
    connection: Connection, limit: int, *, before: WorkflowId | None = None
) -> list[Workflow]:
    """The workflows that were started last, or last before another: newest first."""
    query = select(workflows).order_by(workflows.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(workflows.c.id < before)
    return [_workflow(row) for row in connection.execute(query)]


def not_approved(connection: Connection, limit: int) -> list[Workflow]:
    """Those with a plan in them that nobody has approved, newest first."""
    query = (
        select(workflows)
        .where(
            workflows.c.kind == WorkflowKind.PLAN_THEN_EXECUTE.value,
            workflows.c.approval.is_(None),
        )
        .order_by(workflows.c.id.desc())
        .limit(limit)
    )
    return [_workflow(row) for row in connection.execute(query)]


def operations_of(connection: Connection, workflow: Workflow) -> list[Operation]:
    """In the order in which they came."""
    return many(connection, workflow.operation_ids)


def plans_of(connection: Connection, thread_id: ThreadId) -> list[Sighting]:
    """The plans that the book knows of a thread, newest first."""
    return [
        Sighting(
            Proposal(row.report_turn_id, Plan(row.plan_item_id, row.plan_markdown)),
            row.completed_at,
        )
        for row in connection.execute(_PLANS, {"thread": thread_id})
    ]


# --- Rows and values -----------------------------------------------------------------------------


def _columns(workflow: Workflow) -> dict[str, object]:
    """What may change."""
    return {
        "updated_at": workflow.updated_at,
        "operation_ids": json.dumps(workflow.operation_ids),
        "adoption": workflow.adoption and _dumped(workflow.adoption),
        "approval": workflow.approval and _dumped(workflow.approval),
    }


def _workflow(row: Row[Any]) -> Workflow:
    return Workflow(
        id=row.id,
        kind=WorkflowKind(row.kind),
        client_request_id=row.client_request_id,
        project_id=row.project_id,
        cwd=row.cwd,
        title=row.title,
        terms=from_plain(Terms, json.loads(row.terms)),
        created_at=row.created_at,
        updated_at=row.updated_at,
        operation_ids=tuple(json.loads(row.operation_ids)),
        adoption=None if row.adoption is None else from_plain(Adoption, json.loads(row.adoption)),
        approval=None if row.approval is None else from_plain(Approval, json.loads(row.approval)),
    )


def _dumped(value: object) -> str:
    return json.dumps(to_plain(value), separators=(",", ":"))


# --- Statements, made once -----------------------------------------------------------------------

_INSERT = insert(workflows)
_UPDATE = update(workflows).where(workflows.c.id == bindparam("workflow"))
_BY_ID = select(workflows).where(workflows.c.id == bindparam("key"))
_BY_CLIENT_REQUEST = select(workflows).where(workflows.c.client_request_id == bindparam("key"))

_PLANS = (
    select(
        operations.c.report_turn_id,
        operations.c.plan_item_id,
        operations.c.plan_markdown,
        operations.c.completed_at,
    )
    .where(
        operations.c.thread_id == bindparam("thread"),
        operations.c.plan_item_id.is_not(None),
        operations.c.report_turn_id.is_not(None),
    )
    .order_by(operations.c.completed_at.desc())
)
