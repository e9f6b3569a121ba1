"""The git that is installed, as far as a worktree needs it, and where a repository comes from.

Functions block until git has ended. No hook runs: what a repository brings along would run here,
outside the sandbox that Codex is kept in.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

#: A question is answered in milliseconds; a cold disk needs longer.
ASK_SECONDS = 30.0
#: A large repository is checked out in minutes.
CHECKOUT_SECONDS = 600.0

_SETTINGS = ("-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false")


class GitError(Exception):
    """Git would not, or is not there; in words for whoever asked for it."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository, as seen from a folder in it."""

    #: The top of the working tree.
    top: Path
    #: The folder, from there.
    folder: Path
    #: What is checked out.
    commit: str


def repository_at(folder: str) -> Repository:
    """The repository that a folder is in. Raises GitError."""
    if _ask(folder, "rev-parse", "--is-inside-work-tree") != "true":
        raise GitError(f"{folder} is in no working tree of a git repository")
    top = Path(os.path.realpath(_ask(folder, "rev-parse", "--show-toplevel")))
    try:
        commit = _ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitError as error:
        raise GitError(f"the git repository {top} has no commit yet") from error
    return Repository(top, Path(os.path.realpath(folder)).relative_to(top), commit)


def origin(folder: str) -> str | None:
    """Where the repository at `folder` comes from, the same however it is reached; None where it is
    not from elsewhere."""
    try:
        return same_remote(_ask(folder, "config", "--get", "remote.origin.url"))
    except GitError:
        return None


def same_remote(url: str) -> str | None:
    """A remote's host and path, without what may differ between two who have the same: protocol,
    user, password, port, `.git`. None for a path: it says nothing on another machine."""
    short = re.fullmatch(r"(?:[^@/:]+@)?([^@/:]{2,}):(?!//)/*(.+)", url)
    try:
        host, path = short.groups() if short else (urlsplit(url).hostname, urlsplit(url).path)
    except ValueError:
        return None
    path = path.strip("/").removesuffix(".git").rstrip("/")
    return f"{host.lower()}/{path}" if host and path else None


def worktree_commit(path: Path) -> str | None:
    """What is checked out in the worktree at `path`; None where there is none, or half of one."""
    try:
        git_folder = Path(_ask(str(path), "rev-parse", "--absolute-git-dir"))
        # Git locks a worktree while it makes it.
        is_whole = (path / ".git").is_file() and not (git_folder / "locked").exists()
        return _ask(str(path), "rev-parse", "--verify", "HEAD^{commit}") if is_whole else None
    except GitError:
        return None


def add_worktree(repository: Repository, path: Path, branch: str, keep_open: Sequence[int]) -> None:
    """Check the commit out at `path`, on a branch that begins there. What an earlier attempt left
    there is thrown away.

    `keep_open`: descriptors that git shall hold for as long as it runs, even if this process ends.
    """
    top = str(repository.top)
    shutil.rmtree(path, ignore_errors=True)
    with suppress(GitError):  # mostly git knows of none
        _ask(top, "worktree", "remove", "--force", "--force", str(path))
    words = ("worktree", "add", "-B", branch, str(path), repository.commit)
    _run(top, words, CHECKOUT_SECONDS, keep_open)


def _ask(folder: str, *words: str) -> str:
    return _run(folder, words, ASK_SECONDS).strip()


def _run(folder: str, words: Sequence[str], seconds: float, keep_open: Sequence[int] = ()) -> str:
    try:
        done = subprocess.run(
            ["git", *_SETTINGS, "-C", folder, *words],  # noqa: S607  # as the person has it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=_environment(),
            timeout=seconds,
            check=False,
            pass_fds=keep_open if os.name == "posix" else (),
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"git {words[0]} took longer than {seconds:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise GitError(f"git {words[0]} failed: {said[:500]}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours, without what points git to another repository; in English."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return ours | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
