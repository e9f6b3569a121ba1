"""A git worktree of its own for an operation: the person's checkout stays untouched.

It lies below the state, is named after the operation, and is kept: whoever asked for it lands its
branch or throws it away. It has what was committed; what was not stays in the checkout.
"""

from pathlib import Path

import anyio
import anyio.to_thread

from codex_control_plane_mcp import git
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Worktree
from codex_control_plane_mcp.model.request import StartChat
from codex_control_plane_mcp.paths import make_private_folder

#: The last characters of an operation's id, which are random, name its branch.
BRANCH_CHARS = 10
#: A git that outlived its worker is looked for this often.
LOOK_SECONDS = 0.2


async def made(request: StartChat, operation_id: OperationId, folder: Path) -> Worktree:
    """The worktree of an operation, below `folder`; the same one however often it is asked for.

    Raises git.GitError where none can be made.
    """
    make_private_folder(str(folder))
    lock = FileLock(str(folder / "lock"))
    # Git holds it too: where a worker was killed, its git may still be at work.
    while not lock.acquire(blocking=False):  # noqa: ASYNC110  # another process tells nobody
        await anyio.sleep(LOOK_SECONDS)
    try:
        return await anyio.to_thread.run_sync(_made, request.cwd, folder / operation_id, lock)
    finally:
        lock.release()


def _made(cwd: str, path: Path, lock: FileLock) -> Worktree:
    repository = git.repository_at(cwd)
    branch = f"codex/{path.name[-BRANCH_CHARS:]}"
    commit = git.worktree_commit(path)
    if commit is None:
        git.add_worktree(repository, path, branch, [lock.fileno()])
        commit = repository.commit
    within = path / repository.folder
    # Git keeps no folder that is empty or ignored.
    within.mkdir(parents=True, exist_ok=True)
    return Worktree(str(path), branch, commit, str(within))
