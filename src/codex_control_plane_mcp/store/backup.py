"""Copies a book that others write in meanwhile, and looks whether the copy is a whole one.

SQLite's VACUUM INTO, which reads in one transaction: the copy is the book of one moment, and nobody
waits for it. The file's free pages stay behind, and with them what was pruned.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.model.operation import FINAL
from codex_control_plane_mcp.paths import sync_folder
from codex_control_plane_mcp.store.engine import LOCK_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy holds."""

    bytes: int
    operations: int
    #: A worker that is started on the copy goes on with these.
    unfinished: int


def copy(book: Path, to: Path) -> Copied:
    """Copy the book to a new file with mode 0600, which is there whole and synced, or not at all.

    Raises InvalidArgument when `to` exists or cannot be made, and StateBusy when the book cannot
    be read or the copy cannot be written.
    """
    if to.exists():
        raise InvalidArgument(f"{to} exists, and no copy is written over a file: name a new one")
    draft = to.with_name(f"{to.name}.{os.urandom(4).hex()}.tmp")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise InvalidArgument(f"no copy can be made in {to.parent}: {error.strerror}") from error
    try:
        with _translated(book, to):
            with _reading(book) as connection:
                connection.execute("VACUUM INTO ?", (str(draft),))
            with _reading(draft) as connection:
                copied = _examined(connection, draft)
            _sync(draft)
            draft.replace(to)
    finally:
        for part in ("", "-journal"):  # SQLite leaves the latter where the disk was full
            draft.with_name(draft.name + part).unlink(missing_ok=True)
    sync_folder(str(to.parent))
    return copied


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    with closing(
        sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT_SECONDS, isolation_level=None
        )
    ) as connection:
        yield connection


def _examined(copy: Connection, path: Path) -> Copied:
    """Raises sqlite3.DatabaseError when it is no book, or not a whole one."""
    for (problem,) in copy.execute("PRAGMA integrity_check(1)"):
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
    marks = ", ".join("?" * len(FINAL))
    operations, final = copy.execute(
        f"SELECT count(*), count(*) FILTER (WHERE status IN ({marks})) FROM operations",  # noqa: S608
        [*FINAL],
    ).fetchone()
    return Copied(path.stat().st_size, operations, operations - final)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _translated(book: Path, to: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise StateBusy(
            f"no copy was made ({error}): check the state at {book}, and the room left for {to}"
        ) from error
