"""Git worktrees for operations, with a real git."""

import os
import sys
import time
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp import git as our_git
from codex_control_plane_mcp.git import GitError, worktree_commit
from codex_control_plane_mcp.locks import is_held
from codex_control_plane_mcp.model.ids import OperationId, ProjectId
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat, TurnOptions
from codex_control_plane_mcp.work.worktree import made
from tests.repositories import git, make_repository

ID = OperationId("op_019a0000000011223344aa")


@pytest.fixture
def anyio_backend() -> str:
    """Real time: git does not live on the virtual one."""
    return "asyncio"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "shop")


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    return tmp_path / "state" / "worktrees"


def asked(cwd: Path) -> StartChat:
    options = TurnOptions(Sandbox.WORKSPACE_WRITE, ApprovalPolicy.NEVER)
    return StartChat("mend the till", str(cwd), ProjectId("p"), options, worktree=True)


async def test_a_worktree_has_what_was_committed_on_a_branch_of_its_own(
    repository: Path, trees: Path
) -> None:
    (repository / "src" / "till.txt").write_text("not committed\n")
    worktree = await made(asked(repository), ID, trees)

    assert worktree.path == worktree.cwd == str(trees / ID)
    assert worktree.branch == "codex/11223344aa"
    assert worktree.base_commit == git(repository, "rev-parse", "main")
    assert (trees / ID / "src" / "till.txt").read_text() == "one\n"
    assert git(trees / ID, "branch", "--show-current") == worktree.branch
    assert git(repository, "branch", "--show-current") == "main"
    assert (repository / "src" / "till.txt").read_text() == "not committed\n"
    assert trees.stat().st_mode & 0o077 == 0


async def test_the_folder_within_the_repository_is_kept_also_where_git_does_not_know_it(
    repository: Path, trees: Path
) -> None:
    (repository / "build" / "out").mkdir(parents=True)
    for number, folder in enumerate(("src", "build/out")):
        worktree = await made(asked(repository / folder), OperationId(f"{ID}{number}"), trees)
        assert worktree.cwd == f"{worktree.path}/{folder}"
        assert Path(worktree.cwd).is_dir()


async def test_asked_for_again_it_is_the_same_one_as_it_is(repository: Path, trees: Path) -> None:
    first = await made(asked(repository), ID, trees)
    (trees / ID / "kept.txt").touch()
    git(repository, "commit", "--quiet", "--allow-empty", "--message=Later")

    assert await made(asked(repository), ID, trees) == first
    assert (trees / ID / "kept.txt").exists()


async def test_half_of_one_is_made_anew(repository: Path, trees: Path) -> None:
    """What a git leaves behind that was killed: at its lock, before its checkout, before anything
    but the branch and the folder."""

    def locked() -> None:
        (repository / ".git" / "worktrees" / ID / "locked").write_text("initializing")

    def without_its_files() -> None:
        locked()
        (trees / ID / "src" / "till.txt").unlink()
        (trees / ID / ".git").unlink()

    def unknown_to_git() -> None:
        for path in sorted((repository / ".git" / "worktrees").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()

    whole = await made(asked(repository), ID, trees)
    for spoil in (locked, without_its_files, unknown_to_git):
        spoil()
        assert worktree_commit(trees / ID) is None, spoil
        assert await made(asked(repository), ID, trees) == whole
        assert git(trees / ID, "status", "--porcelain") == ""
    assert git(repository, "worktree", "list").count("\n") == 1


async def test_a_git_that_outlives_its_worker_is_waited_for(
    repository: Path, trees: Path, tmp_path: Path
) -> None:
    """kill -9 of the worker while its git, held up by a filter, checks out."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = f"sh -c 'read line < {gate}; cat'"
    git(repository, "config", "filter.slow.smudge", slow)
    (repository / ".git" / "info" / "attributes").write_text("*.txt filter=slow\n")
    program = (
        "import anyio\n"
        "from tests.work.test_worktree import *\n"
        f"anyio.run(made, asked(Path({str(repository)!r})), ID, Path({str(trees)!r}))\n"
    )
    command = [sys.executable, "-c", program]
    worker = await anyio.open_process(command, cwd=Path(__file__).parents[2], stderr=None)
    with anyio.fail_after(30):  # it opens once the filter waits
        opened = await anyio.to_thread.run_sync(gate.open, "w", abandon_on_cancel=True)
    with opened:
        worker.kill()
        await worker.wait()
        assert is_held(str(trees / "lock"))
        git(repository, "config", "--unset", "filter.slow.smudge")
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                found = []

                async def make() -> None:
                    found.append(await made(asked(repository), ID, trees))

                tasks.start_soon(make)
                await anyio.wait_all_tasks_blocked()
                assert not found
                opened.write("go\n")
                opened.flush()
    assert (trees / ID / "src" / "till.txt").read_text() == "one\n"
    assert found[0].path == str(trees / ID)


async def test_no_hook_of_the_repository_runs(repository: Path, trees: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {repository}/hooked\n")
    hook.chmod(0o755)
    git(repository, "checkout", "--quiet", "-b", "other")
    assert (repository / "hooked").exists()
    (repository / "hooked").unlink()

    await made(asked(repository), ID, trees)
    assert not (repository / "hooked").exists()


async def test_another_repository_in_the_environment_changes_nothing(
    repository: Path, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(make_repository(tmp_path / "other") / ".git"))
    worktree = await made(asked(repository), ID, trees)
    monkeypatch.undo()
    assert worktree.base_commit == git(repository, "rev-parse", "main")


async def test_where_none_can_be_made_it_is_said_why(
    tmp_path: Path, trees: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    empty = make_repository(tmp_path / "empty", commit=False)
    for folder, why in (
        (plain, "not a git repository"),
        (empty, "no commit"),
        (empty / ".git", "working tree"),
        (tmp_path / "gone", "gone"),
    ):
        with pytest.raises(GitError, match=why):
            await made(asked(folder), ID, trees)
    monkeypatch.setenv("PATH", str(plain))
    with pytest.raises(GitError, match="not installed"):
        await made(asked(empty), ID, trees)
    assert not (trees / ID).exists()


async def test_a_git_that_takes_too_long_is_given_up(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(our_git, "ASK_SECONDS", 0.1)
    before = time.monotonic()
    with pytest.raises(GitError, match="took longer"):
        our_git.repository_at(str(repository))
    assert time.monotonic() - before < 30
