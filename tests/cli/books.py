"""A state as the commands may find it: tasks that run, ask, wait and have ended, and a plan."""

from __future__ import annotations

from dataclasses import replace

from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    ApprovalAwaited,
    Claimed,
    Completed,
    Operation,
    Report,
)
from codex_control_plane_mcp.model.request import StartChat
from codex_control_plane_mcp.store import operations
from tests.model.lives import ACCEPTED, BOUND, FIRST, INTENDED
from tests.store.actors import Desk, a_question

#: What a terminal would obey: it clears the line, and another command stands there.
TRICK = "rm -rf /srv\x1b[2K\rls"


def begun(desk: Desk, message: str, *, thread: str = "t-1", key: str | None = None) -> Operation:
    """A task whose turn runs."""
    submission = desk.submission(message, client_request_id=key, project=thread)
    assert isinstance(submission.request, StartChat)
    submission = replace(submission, request=replace(submission.request, title=None))
    bound = replace(BOUND, thread_id=ThreadId(thread))
    accepted = replace(ACCEPTED, turn_id=TurnId(f"turn of {thread}"))
    return desk.record(desk.submit(submission), Claimed(FIRST), bound, INTENDED, accepted)


def said(desk: Desk, operation: Operation, *texts: str) -> Operation:
    entries = [Entry(Category.ASSISTANT, text, "item-1") for text in texts]
    return desk.write(lambda writing: operations.record(writing, operation, entries=entries))


def completed(desk: Desk, operation: Operation, report: str) -> Operation:
    assert operation.turn_id is not None
    return desk.record(operation, Completed(Report(report, operation.turn_id)))


def asking(desk: Desk, operation: Operation, **changes: object) -> Interaction:
    """It asks whether a command may run."""
    known: dict[str, object] = {
        "prompt": "May Codex run this command?",
        "command": "make deploy",
        "cwd": "/work/house",
        "reason": "The release is due.",
        "available_decisions": ("accept", "decline"),
    }
    desk.record(operation, ApprovalAwaited())
    return desk.ask(operation, a_question(**(known | changes)))
