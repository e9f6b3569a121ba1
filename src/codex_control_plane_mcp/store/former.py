"""Reads a state of version 0.2.1, and never writes to it.

What it held in JSON is given as it stands there; what it means is the desk's to say.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import InvalidArgument

Json: TypeAlias = Mapping[str, object]

#: Of its journal what says something to people; the rest are parts of what the turn said whole.
_LINES = """
SELECT 'assistant' AS kind, created_at AS at, text, NULL AS item_id
    FROM tracked_turn_messages WHERE turn_id = :turn AND role = 'assistant' AND text <> ''
UNION ALL SELECT 'plan', coalesce(completed_at, updated_at), text, item_id
    FROM tracked_plan_items WHERE turn_id = :turn AND text <> ''
UNION ALL SELECT 'interaction', created_at, method || ': ' || status, item_id
    FROM pending_interactions WHERE turn_id = :turn
UNION ALL SELECT 'notice', created_at, text, item_id
    FROM tracked_turn_progress_events
    WHERE turn_id = :turn AND severity <> 'info' AND text IS NOT NULL AND text <> ''
ORDER BY at
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened in a turn."""

    #: `assistant`, `plan`, `interaction` or `notice`.
    kind: str
    at: Moment
    text: str
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class FormerPlan:
    item_id: str
    markdown: str


@dataclass(frozen=True, slots=True)
class FormerOperation:
    id: str
    client_request_id: str | None
    type: str
    status: str
    cwd: str
    title: str | None
    thread_id: str | None
    turn_id: str | None
    workflow_id: str | None
    agent_id: str | None
    priority: str
    request: Json
    report: Json
    last_error: str | None
    created_at: Moment
    updated_at: Moment
    started_at: Moment | None
    completed_at: Moment | None


@dataclass(frozen=True, slots=True)
class FormerWorkflow:
    id: str
    kind: str
    client_request_id: str | None
    plan_operation_id: str | None
    execution_operation_id: str | None
    review_operation_id: str | None
    review_target: Json
    plan_hash: str | None
    created_at: Moment
    updated_at: Moment


@dataclass(frozen=True, slots=True)
class FormerSaying:
    """What a person typed in Codex, or Codex answered there, as the hooks told."""

    id: str
    role: str
    at: Moment
    thread_id: str
    turn_id: str
    cwd: str
    model: str | None
    text: str


class FormerState:
    """An open one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def operations(self) -> Iterator[FormerOperation]:
        """Oldest first."""
        for row in self._rows(
            """SELECT o.*, s.agent_id, s.priority, p.path AS project_path FROM codex_operations o
            LEFT JOIN codex_operation_scheduling s ON s.operation_id = o.operation_id
            LEFT JOIN projects p ON p.project_id = o.project_id
            ORDER BY o.created_at, o.rowid"""
        ):
            created = _moment(row["created_at"])
            yield FormerOperation(
                id=row["operation_id"],
                client_request_id=row["client_request_id"],
                type=row["operation_type"],
                status=row["status"],
                cwd=row["cwd"] or row["project_path"] or "",
                title=row["title"],
                thread_id=row["thread_id"] or row["chat_id"],
                turn_id=row["turn_id"],
                workflow_id=row["workflow_id"],
                agent_id=row["agent_id"],
                priority=row["priority"] or "normal",
                request=_object(row["request_json"]),
                report=_object(row["final_report_json"]),
                last_error=row["last_error"],
                created_at=created,
                updated_at=_moment(row["updated_at"]),
                started_at=_maybe_moment(row["started_at"]),
                completed_at=_maybe_moment(row["completed_at"]),
            )

    def lines(self, turn_id: str) -> list[Line]:
        """What was written down of a turn, in the order in which it happened."""
        found = self._rows(_LINES, turn=turn_id)
        return [Line(row["kind"], _moment(row["at"]), row["text"], row["item_id"]) for row in found]

    def last_words(self, turn_id: str) -> str | None:
        """The last message that was kept of a turn."""
        for row in self._rows(
            "SELECT coalesce(final_message, last_assistant_message) AS said FROM tracked_turns"
            " WHERE turn_id = :turn",
            turn=turn_id,
        ):
            return str(row["said"]) if row["said"] else None
        return None

    def plan(self, turn_id: str) -> FormerPlan | None:
        """The last plan of a turn."""
        for row in self._rows(
            "SELECT item_id, text FROM tracked_plan_items WHERE turn_id = :turn AND text <> ''"
            " ORDER BY id DESC LIMIT 1",
            turn=turn_id,
        ):
            return FormerPlan(row["item_id"], row["text"])
        return None

    def workflows(self) -> Iterator[FormerWorkflow]:
        """Oldest first."""
        for row in self._rows("SELECT * FROM codex_workflows ORDER BY created_at, rowid"):
            yield FormerWorkflow(
                id=row["workflow_id"],
                kind=row["workflow_kind"],
                client_request_id=row["client_request_id"],
                plan_operation_id=row["plan_operation_id"],
                execution_operation_id=row["execution_operation_id"],
                review_operation_id=row["review_operation_id"],
                review_target=_object(row["review_target_json"]),
                plan_hash=row["latest_plan_hash"],
                created_at=_moment(row["created_at"]),
                updated_at=_moment(row["updated_at"]),
            )

    def sayings(self) -> Iterator[FormerSaying]:
        """What hooks told of turns of people, oldest first; of Codex's answers the last."""
        for row in self._rows(
            """SELECT m.*, t.project_path, n.model FROM codex_hook_messages m
            JOIN codex_hook_threads t ON t.thread_id = m.thread_id
            LEFT JOIN codex_hook_turns n ON n.turn_id = m.turn_id
            WHERE m.turn_id IS NOT NULL AND m.text <> '' AND t.project_path IS NOT NULL
            AND m.turn_id NOT IN (
                SELECT turn_id FROM codex_operations WHERE turn_id IS NOT NULL)
            AND (m.role = 'user' OR m.id = (
                SELECT max(l.id) FROM codex_hook_messages l
                WHERE l.turn_id = m.turn_id AND l.role <> 'user'))
            ORDER BY m.id"""
        ):
            yield FormerSaying(
                id=row["message_id"],
                role=row["role"],
                at=_moment(row["created_at"]),
                thread_id=row["thread_id"],
                turn_id=row["turn_id"],
                cwd=row["project_path"],
                model=row["model"],
                text=row["text"],
            )

    def _rows(self, query: str, **values: str) -> Iterator[sqlite3.Row]:
        with closing(self._connection.execute(query, values)) as cursor:
            yield from cursor


@contextmanager
def opened(file: Path) -> Iterator[FormerState]:
    """Open a state to be read. Raises InvalidArgument where it is none of 0.2.1."""
    if not file.is_file():
        raise InvalidArgument(f"there is no file {file}")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as found:
            found.row_factory = sqlite3.Row
            found.execute("SELECT operation_id FROM codex_operations LIMIT 0")
            # One moment of it, should its program still be at work.
            found.execute("BEGIN")
            yield FormerState(found)
    except sqlite3.Error as error:
        raise InvalidArgument(f"{file} is not a state of version 0.2.1: {error}") from error


def _object(text: str | None) -> Json:
    stored = json.loads(text) if text else {}
    return stored if isinstance(stored, dict) else {}


def _maybe_moment(text: str | None) -> Moment | None:
    return _moment(text) if text else None


def _moment(text: str) -> Moment:
    at = datetime.fromisoformat(text)
    return Moment(round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
