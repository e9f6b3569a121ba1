"""A state as version 0.2.1 left it: the tables and columns that are read, with rows of a real run.

The run had real Codex and a scripted model: two messages in a thread, a plan that was carried out,
and a task whose approval nobody had given. Added by hand: what a person typed in Codex, a review,
a task that failed, and one that never began.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

TABLES: dict[str, tuple[str, ...]] = {
    "codex_operations": (
        *("operation_id", "client_request_id", "operation_type", "status", "project_id", "cwd"),
        *("title", "chat_id", "thread_id", "turn_id", "workflow_id", "request_json"),
        *("final_report_json", "last_error", "created_at", "updated_at", "started_at"),
        "completed_at",
    ),
    "codex_operation_scheduling": ("operation_id", "agent_id", "priority"),
    "projects": ("project_id", "path"),
    "codex_workflows": (
        *("workflow_id", "workflow_kind", "client_request_id", "plan_operation_id"),
        *("execution_operation_id", "review_operation_id", "review_target_json"),
        *("latest_plan_hash", "created_at", "updated_at"),
    ),
    "tracked_turns": ("turn_id", "final_message", "last_assistant_message"),
    "tracked_turn_messages": ("turn_id", "role", "text", "created_at"),
    "tracked_plan_items": (
        *("id", "turn_id", "item_id", "text", "updated_at", "completed_at"),
    ),
    "tracked_turn_progress_events": ("turn_id", "item_id", "severity", "text", "created_at"),
    "pending_interactions": ("turn_id", "item_id", "method", "status", "created_at"),
    "codex_hook_threads": ("thread_id", "project_path"),
    "codex_hook_turns": ("turn_id", "model"),
    "codex_hook_messages": (
        *("id", "message_id", "thread_id", "turn_id", "role", "text", "created_at"),
    ),
}  # fmt: skip

SECRET = "sk-abcdefghijklmnopqrstuvwxyz123456"
PLAN = "# Mend\n\n1. Oil it\n"


def write(file: Path, project: Path) -> None:
    with closing(sqlite3.connect(file)) as state:
        for table, columns in TABLES.items():
            state.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        for table, row in _rows(str(project)):
            marks = ", ".join("?" * len(TABLES[table]))
            values = [row.get(name) for name in TABLES[table]]
            state.execute(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608
        state.commit()


def at(second: int) -> str:
    return f"2026-06-23T01:16:{second:02}.476408+00:00"


def _operation(id_: str, second: int, **more: object) -> tuple[str, dict[str, object]]:
    asked = {"message": f"Task {id_}", "sandbox": "workspace-write"}
    return "codex_operations", {
        "operation_id": id_,
        "operation_type": "start_chat",
        "status": "completed",
        "project_id": "p1",
        "request_json": json.dumps(asked | dict(more.pop("asked", {}))),  # type: ignore[call-overload]
        "created_at": at(second),
        "started_at": at(second),
        "completed_at": at(second + 2),
        "updated_at": at(second + 2),
        **more,
    }


def _rows(project: str) -> list[tuple[str, dict[str, object]]]:
    said = json.dumps({"text": f"All is well, {SECRET}."})
    return [
        ("projects", {"project_id": "p1", "path": project}),
        _operation(
            *("first", 10), client_request_id="k1", cwd=project, thread_id="t1", turn_id="u1",
            final_report_json=said,
        ),
        ("codex_operation_scheduling", {"operation_id": "first", "agent_id": "ann",
                                        "priority": "high"}),
        ("tracked_turn_messages", {"turn_id": "u1", "role": "assistant", "text": "I look.",
                                   "created_at": at(11)}),
        ("tracked_turn_progress_events", {"turn_id": "u1", "severity": "info", "text": "part",
                                          "created_at": at(11)}),
        ("tracked_turn_progress_events", {"turn_id": "u1", "severity": "warning",
                                          "text": "Codex reconnects", "created_at": at(12)}),
        _operation(
            *("second", 15), operation_type="send_message", client_request_id="k2",
            chat_id="t1", turn_id="u2", final_report_json=said,
        ),
        _operation(
            *("plan", 20), client_request_id="workflow:w1:plan", thread_id="t2", turn_id="u3",
            title="Mend", workflow_id="w1", asked={"collaboration_mode": "plan"},
        ),
        ("tracked_plan_items", {"id": 1, "turn_id": "u3", "item_id": "u3-plan", "text": PLAN,
                                "updated_at": at(21)}),
        _operation(
            *("execution", 25), operation_type="execute_plan", thread_id="t2", turn_id="u4",
            workflow_id="w1", final_report_json=said,
        ),
        ("codex_workflows", {"workflow_id": "w1", "workflow_kind": "plan_then_execute",
                             "client_request_id": "w1-key", "plan_operation_id": "plan",
                             "execution_operation_id": "execution", "created_at": at(20),
                             "updated_at": at(27)}),
        _operation(
            *("review", 30), operation_type="start_review", thread_id="t3", turn_id="u5",
            workflow_id="w2", final_report_json=said,
        ),
        ("codex_workflows", {"workflow_id": "w2", "workflow_kind": "code_review",
                             "review_operation_id": "review", "created_at": at(30),
                             "review_target_json": '{"type": "baseBranch", "branch": "main"}',
                             "updated_at": at(32)}),
        _operation("failed", 35, status="failed", last_error="no login", turn_id="u6"),
        _operation("asking", 40, status="waiting_for_approval", thread_id="t4", turn_id="u7",
                   completed_at=None, client_request_id="k3"),
        ("pending_interactions", {"turn_id": "u7", "status": "pending", "created_at": at(41),
                                  "method": "item/commandExecution/requestApproval"}),
        _operation("waiting", 45, status="queued", completed_at=None, started_at=None),
        _operation("elsewhere", 46, operation_type="dance", turn_id="u8"),
        ("codex_hook_threads", {"thread_id": "t1", "project_path": project}),
        ("codex_hook_threads", {"thread_id": "t9", "project_path": project}),
        ("codex_hook_turns", {"turn_id": "u9", "model": "gpt"}),
        ("codex_hook_messages", {"id": 1, "message_id": "m1", "thread_id": "t1", "turn_id": "u1",
                                 "role": "user", "text": "of the task", "created_at": at(10)}),
        ("codex_hook_messages", {"id": 2, "message_id": "m2", "thread_id": "t9", "turn_id": "u9",
                                 "role": "user", "text": "Why blue?", "created_at": at(50)}),
        ("codex_hook_messages", {"id": 3, "message_id": "m3", "thread_id": "t9", "turn_id": "u9",
                                 "role": "assistant", "text": "I look", "created_at": at(51)}),
        ("codex_hook_messages", {"id": 4, "message_id": "m4", "thread_id": "t9", "turn_id": "u9",
                                 "role": "assistant", "text": "The sky.", "created_at": at(52)}),
    ]  # fmt: skip
