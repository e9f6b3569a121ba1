"""An operation as a row of its table, and back."""

import json
from dataclasses import asdict
from typing import Any, TypeAlias

from sqlalchemy import Row

from codex_control_plane_mcp.model.ids import NOBODY, AppServerId, Generation, WorkflowId
from codex_control_plane_mcp.model.operation import (
    ACTIVE,
    GoalProgress,
    Intent,
    Operation,
    Plan,
    Policy,
    Report,
    Status,
    StructuredStatus,
    TokenUsage,
    Trouble,
    Worktree,
)
from codex_control_plane_mcp.model.request import request_from_json

_Row: TypeAlias = Row[Any]

#: By their names in the table.
STATUSES = {status.value: status for status in Status}
#: Of a row: that somebody has it in hand. To the letter, for partial indexes, and because for
#: statuses that it does not see when it plans PostgreSQL reads every row.
IS_ACTIVE = f"status IN ({', '.join(repr(status.value) for status in sorted(ACTIVE))})"


def columns_of(operation: Operation) -> dict[str, object]:
    """What may change in the life of an operation, and its names. The request never changes."""
    intent, report, trouble = operation.intent, operation.report, operation.trouble
    plan = report and report.plan
    return {
        "id": operation.id,
        "client_request_id": operation.client_request_id,
        "agent_id": operation.agent_id or "",
        "resource_keys": json.dumps(operation.resource_keys),
        "workflow_id": operation.workflow_id,
        "priority": operation.priority,
        "status": operation.status.value,
        "created_at": operation.created_at,
        "updated_at": operation.updated_at,
        "started_at": operation.started_at,
        "completed_at": operation.completed_at,
        "thread_id": operation.thread_id,
        "turn_id": operation.turn_id,
        "app_server_id": operation.app_server_id,
        "intent_attempt": intent and intent.attempt,
        "intent_message_id": intent and intent.client_message_id,
        "intent_last_turn_id": intent and intent.last_turn_id,
        "worktree": _dumped(operation.worktree),
        "policy": _dumped(operation.policy),
        "report_text": report and report.text,
        "report_turn_id": report and report.turn_id,
        "plan_item_id": plan and plan.item_id,
        "plan_markdown": plan and plan.markdown,
        "structured_status": report and report.structured,
        "trouble_code": trouble and trouble.code,
        "trouble_message": trouble and trouble.message,
        "token_usage": _dumped(operation.token_usage),
        "goal": _dumped(operation.goal),
        "heard_at": operation.heard_at,
        "last_seq": operation.last_seq,
        "status_seq": operation.status_seq,
        "generation": operation.generation,
        "host": operation.host,
        "host_labels": json.dumps(operation.host_labels),
        "checkout": operation.checkout,
    }


def operation_of(row: _Row) -> Operation:
    return Operation(
        id=row.id,
        request=request_from_json(json.loads(row.request)),
        client_request_id=row.client_request_id,
        agent_id=row.agent_id or None,
        priority=row.priority,
        resource_keys=tuple(json.loads(row.resource_keys)),
        workflow_id=WorkflowId(row.workflow_id) if row.workflow_id else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        status=STATUSES[row.status],
        started_at=row.started_at,
        completed_at=row.completed_at,
        thread_id=row.thread_id,
        turn_id=row.turn_id,
        app_server_id=AppServerId(row.app_server_id) if row.app_server_id else None,
        intent=_intent(row),
        worktree=Worktree(**json.loads(row.worktree)) if row.worktree else None,
        policy=Policy(**json.loads(row.policy)) if row.policy else None,
        report=_report(row),
        trouble=None
        if row.trouble_code is None
        else Trouble(row.trouble_code, row.trouble_message),
        token_usage=TokenUsage(**json.loads(row.token_usage)) if row.token_usage else None,
        goal=GoalProgress(**json.loads(row.goal)) if row.goal else None,
        heard_at=row.heard_at,
        last_seq=row.last_seq,
        status_seq=row.status_seq,
        generation=Generation(row.generation) if row.generation else NOBODY,
        host=row.host,
        host_labels=tuple(json.loads(row.host_labels)),
        checkout=row.checkout,
    )


def _report(row: _Row) -> Report | None:
    if row.report_text is None:
        return None
    plan = None if row.plan_item_id is None else Plan(row.plan_item_id, row.plan_markdown)
    structured = StructuredStatus(row.structured_status) if row.structured_status else None
    return Report(row.report_text, row.report_turn_id, plan, structured)


def _intent(row: _Row) -> Intent | None:
    if row.intent_attempt is None:
        return None
    return Intent(row.intent_attempt, row.intent_message_id, row.intent_last_turn_id)


def _dumped(value: Worktree | Policy | TokenUsage | GoalProgress | None) -> str | None:
    return None if value is None else json.dumps(asdict(value), separators=(",", ":"))
