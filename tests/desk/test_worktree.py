"""Tasks that ask for a git worktree, and messages to threads that work in one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.projects import project_id
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import (
    Claimed,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
    Worktree,
    WorktreeMade,
)
from codex_control_plane_mcp.model.request import (
    LocalImage,
    OperationType,
    SendMessage,
    StartChat,
)
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import APP_SERVER, ME, Reception, reception
from tests.desk.test_submit import send, start, stored
from tests.pictures import PNG
from tests.repositories import git, make_repository


@pytest.fixture(autouse=True)
def _repository(at: Reception) -> None:
    make_repository(at.project)


async def in_worktree(at: Reception) -> tuple[OperationId, Worktree]:
    """A task whose thread, `t-1`, works in a worktree, and whose turn has ended."""
    receipt = await at.desk.submit(start(at, worktree=True, cwd=str(at.project / "src")))
    folder = at.settings.worktrees_folder / receipt.operation_id
    (folder / "src").mkdir(parents=True)
    made = Worktree(str(folder), "codex/1", "c0ffee", str(folder / "src"))
    await at.workshop.record(
        receipt.operation_id,
        Claimed(ME),
        WorktreeMade(made),
        ThreadBound(ThreadId("t-1"), APP_SERVER, None),
        TurnIntended(None),
        TurnAccepted(TurnId("u-1")),
    )
    await at.workshop.complete(receipt.operation_id)
    return OperationId(receipt.operation_id), made


async def test_the_status_tells_of_the_worktree_from_wish_to_end(at: Reception) -> None:
    receipt = await at.desk.submit(start(at, "another", worktree=True))
    assert receipt.worktree is not None
    assert receipt.worktree.state == "pending"
    assert receipt.cwd == str(at.project)

    operation_id, made = await in_worktree(at)
    done = Look(operation_id=operation_id)
    shown = await at.desk.status(done)
    assert shown.cwd == made.cwd
    assert shown.worktree is not None
    assert (shown.worktree.state, shown.worktree.path) == ("kept", made.path)
    assert (shown.worktree.branch, shown.worktree.base_commit) == ("codex/1", "c0ffee")

    shutil.rmtree(made.path)
    gone = (await at.desk.status(done)).worktree
    assert gone is not None
    assert gone.state == "gone"
    plain = await at.desk.submit(start(at, "no worktree"))
    assert plain.worktree is None


async def test_a_message_goes_to_the_worktree_in_which_its_thread_works(
    at: Reception,
) -> None:
    _, made = await in_worktree(at)
    (Path(made.cwd) / "seen.png").write_bytes(PNG)
    first = await at.desk.submit(send("go on", "t-1"))
    second = await at.desk.submit(send("and on", "t-1", cwd=made.cwd))
    third = await at.desk.submit(send("look", "t-1", items=(LocalImage("seen.png"),)))

    for receipt in (first, second, third):
        read = OperationId(receipt.operation_id)
        operation = await at.book.read(lambda reading, read=read: lookup.get(reading, read))  # type: ignore[misc]
        assert operation is not None
        assert isinstance(operation.request, SendMessage)
        assert operation.request.cwd == made.cwd
        assert receipt.project_id == project_id(at.project)


async def test_a_fork_of_a_thread_works_in_the_worktree_of_that_thread(at: Reception) -> None:
    _, made = await in_worktree(at)
    fork = Task(operation_type=OperationType.FORK_THREAD, source_thread_id="t-1", message="fork")
    forked = await at.desk.submit(fork)
    await at.workshop.start(forked.operation_id, "t-2", "u-2")

    receipt = await at.desk.submit(send("go on", "t-2"))

    assert forked.cwd == receipt.cwd == made.cwd


async def test_a_message_to_a_thread_whose_worktree_is_gone_is_refused(
    at: Reception,
) -> None:
    _, made = await in_worktree(at)
    shutil.rmtree(made.path)
    with pytest.raises(InvalidArgument, match="start a new chat"):
        await at.desk.submit(send("go on", "t-1"))


async def test_a_worktree_is_as_allowed_as_what_it_was_made_from(at: Reception) -> None:
    await in_worktree(at)
    with reception(at.settings.state_db.parent / "other") as elsewhere:
        narrowed = Desk(at.book, elsewhere.settings, at.clock, at.runtime, threads=False)
        with pytest.raises(InvalidArgument, match="outside the allowed folders"):
            await narrowed.submit(send("go on", "t-1"))


async def test_a_worktree_needs_a_repository_with_a_commit_within_the_roots(
    at: Reception, tmp_path: Path
) -> None:
    shutil.rmtree(at.project / ".git")
    with pytest.raises(InvalidArgument, match="git repository") as refused:
        await at.desk.submit(start(at, worktree=True))
    assert refused.value.details["field"] == "worktree"

    git(at.project, "init", "--quiet")
    with pytest.raises(InvalidArgument, match="no commit"):
        await at.desk.submit(start(at, worktree=True))

    shutil.rmtree(at.project / ".git")
    make_repository(tmp_path)  # the roots are in it
    with pytest.raises(InvalidArgument, match="allowed folders"):
        await at.desk.submit(start(at, worktree=True))
    assert await stored(at) == 0


async def test_a_replay_is_answered_though_the_repository_is_gone(at: Reception) -> None:
    task = start(at, worktree=True, client_request_id="r-1")
    first = await at.desk.submit(task)
    shutil.rmtree(at.project / ".git")

    again = await at.desk.submit(task)

    assert again.operation_id == first.operation_id
    operation = await at.book.read(
        lambda reading: lookup.get(reading, OperationId(first.operation_id))
    )
    assert operation is not None
    assert isinstance(operation.request, StartChat)
    assert operation.request.worktree is True


async def test_only_a_new_chat_can_have_a_worktree(at: Reception) -> None:
    with pytest.raises(InvalidArgument, match="start_chat"):
        await at.desk.submit(send("go on", "t-1", worktree=True))
