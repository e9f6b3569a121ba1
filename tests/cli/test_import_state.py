"""`import-state`: the history of 0.2.1 comes over once, as it was, and its file is only read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp.model.ids import OperationId, WorkflowId
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.request import BaseBranch, Review, SendMessage
from codex_control_plane_mcp.model.workflow import Phase, stand
from codex_control_plane_mcp.store import hook_history, journal, lookup, workflows
from codex_control_plane_mcp.store.book import Book, opened
from tests.cli import former
from tests.cli.commands import ADMIN, environment, run


@pytest.fixture
def old(folder: Path) -> Path:
    (folder / "project").mkdir()
    former.write(folder / "old.sqlite3", folder / "project")
    return folder / "old.sqlite3"


def bring(folder: Path, *options: str) -> dict[str, Any]:
    done = run(
        ADMIN,
        *("import-state", str(folder / "old.sqlite3"), "--json", *options),
        env=environment(folder),
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def book_of(folder: Path) -> Iterator[Book]:
    with opened(folder / "state" / "state.sqlite3") as book:
        yield book


def task(book: Book, name: str) -> Operation:
    found = book.read_now(lambda connection: lookup.get(connection, OperationId(name)))
    assert found is not None
    return found


def test_what_ended_comes_with_its_ids_words_and_times_and_without_its_secrets(
    folder: Path, old: Path
) -> None:
    before = hashlib.sha256(old.read_bytes()).hexdigest()
    told = bring(folder)
    assert (told["operations"], told["workflows"], told["hookMessages"]) == (6, 2, 2)
    assert told["unfinished"] == ["asking", "waiting"]
    assert told["leftOut"] == ["task elsewhere: there is no task of type dance"]
    assert hashlib.sha256(old.read_bytes()).hexdigest() == before

    with book_of(folder) as book:
        first = task(book, "first")
        assert (first.status, first.client_request_id) == (Status.COMPLETED, "k1")
        assert (first.agent_id, first.priority) == ("ann", "high")
        assert (first.request.message, first.cwd) == ("Task first", str(folder / "project"))
        assert first.report is not None
        assert first.report.text.startswith("All is well")
        assert former.SECRET not in first.report.text
        lines = book.read_now(lambda connection: journal.after(connection, first.id, 0, 9))
        assert [(line.category, line.text) for line in lines] == [
            (Category.STATE, "Queued."),
            (Category.ASSISTANT, "I look."),
            (Category.NOTICE, "Codex reconnects"),
            (Category.STATE, "completed, by the word of codex-control-plane-mcp 0.2.1."),
        ]
        assert first.created_at <= lines[1].at <= (first.completed_at or 0)
        second = task(book, "second")
        assert isinstance(second.request, SendMessage)
        assert second.request.thread_id == second.thread_id == "t1"
        failed = task(book, "failed")
        assert failed.trouble is not None
        assert (failed.status, failed.trouble.message) == (Status.FAILED, "no login")


def test_workflows_stand_where_they_stood(folder: Path, old: Path) -> None:
    bring(folder)
    with book_of(folder) as book:
        plan = book.read_now(lambda connection: workflows.get(connection, WorkflowId("w1")))
        assert plan is not None
        assert (plan.client_request_id, plan.title) == ("w1-key", "Mend")
        now = stand(plan, [task(book, "plan"), task(book, "execution")])
        assert now.phase is Phase.COMPLETED
        assert now.proposal is not None
        assert now.proposal.plan.markdown == former.PLAN
        assert plan.approval is not None
        assert plan.approval.plan_hash == now.proposal.hash
        review = task(book, "review").request
        assert isinstance(review, Review)
        assert review.target == BaseBranch("main")


def test_what_people_typed_is_kept_once_and_what_tasks_typed_is_not(
    folder: Path, old: Path
) -> None:
    bring(folder)
    with book_of(folder) as book:
        kept = book.read_now(lambda connection: hook_history.after(connection, 0, 9))
    assert [(one.event.kind, one.event.text) for one in kept] == [
        ("prompt", "Why blue?"),
        ("answer", "The sky."),
    ]


def test_again_nothing_comes_twice_and_what_ended_meanwhile_comes_then(
    folder: Path, old: Path
) -> None:
    bring(folder)
    again = bring(folder)
    assert (again["operations"], again["workflows"], again["hookMessages"]) == (0, 0, 0)
    assert again["alreadyThere"] == 8
    late = bring(folder, "--with-unfinished")
    assert late["operations"] == 2
    with book_of(folder) as book:
        asking, waiting = task(book, "asking"), task(book, "waiting")
    # Nobody knows how the one ended, the other never began; neither is run again.
    assert (asking.status, asking.client_request_id) == (Status.UNKNOWN, "k3")
    assert waiting.status is Status.CANCELLED


def test_a_file_that_is_no_state_of_the_former_version_is_refused(folder: Path) -> None:
    for text in ("", "no database"):
        (folder / "old.sqlite3").write_text(text)
        done = run(ADMIN, "import-state", str(folder / "old.sqlite3"), env=environment(folder))
        assert (done.returncode, done.stdout) == (2, "")
        assert "not a state of version 0.2.1" in done.stderr
    assert not (folder / "state").exists()
