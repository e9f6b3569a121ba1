"""This host in its fleet: who it is, what it can run, and its place there."""

import math
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from codex_control_plane_mcp import git
from codex_control_plane_mcp.desk.projects import catalogue, project_at, project_id
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import HostId, ProjectId
from codex_control_plane_mcp.model.policy import is_within
from codex_control_plane_mcp.model.schedule import YIELD_SECONDS, Reach
from codex_control_plane_mcp.paths import replace_file
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import hosts, lookup
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.presence import Presence, present
from codex_control_plane_mcp.work.requeue import Patience

#: The disk is searched for projects again this long after it was.
SEARCH_SECONDS = 10.0
#: What is known of the other hosts is as old at most: for so long a task may be left to one that
#: is not there any more.
OTHERS_SECONDS = float(YIELD_SECONDS)


class Territory:
    """The projects that this host has: those in which it may take what runs anywhere."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._searched_at = self._asked_at = -math.inf
        self._found: dict[str, hosts.Project] = {}
        #: Those that another host has at another path, as repositories from the same place.
        self._same: dict[str, hosts.Project] = {}
        self._moved: dict[str, tuple[str, str]] = {}
        self._others: tuple[Reach, ...] = ()
        #: When git's settings of a project were last changed, and what they said then.
        self._remotes: dict[Path, tuple[int, str | None]] = {}

    @property
    def projects(self) -> Collection[hosts.Project]:
        """All, by every id that others know them by."""
        return (self._same | self._found).values()

    def reach(self, reading: Reading) -> Reach:
        """What this host can run of that which the book knows."""
        host = HostId(self._settings.book_host)
        for id_, cwd, _ in lookup.projects(reading):
            if id_ not in self._found and (path := self._path_of(id_, cwd)):
                self._found[id_] = self._project(id_, path)
        if time.monotonic() - self._searched_at >= SEARCH_SECONDS:
            self.search(reading)
        if time.monotonic() - self._asked_at >= OTHERS_SECONDS:
            self._asked_at = time.monotonic()
            self._others = hosts.others(reading, besides=host)
        return Reach(
            host,
            frozenset(one.id for one in self.projects),
            self._settings.host_capacity,
            frozenset(self._settings.host_labels),
            self._others,
            self._moved,
        )

    def search(self, reading: Reading) -> None:
        """Look at the disk for projects, and at what other hosts have of them."""
        self._searched_at = time.monotonic()
        for one in catalogue(self._settings, ()):
            self._found[one.id] = self._project(one.id, one.path)
        self._same, self._moved = {}, {}
        found = sorted(self._found.values(), key=lambda one: one.path, reverse=True)
        own = {one.remote: one for one in found if one.remote is not None}
        for theirs in hosts.with_remotes(reading, besides=HostId(self._settings.book_host)):
            # What they have from us, or from a third, bears an id that is not of its path.
            is_their_own = theirs.id == project_id(Path(theirs.path))
            if is_their_own and theirs.id not in self._found and theirs.remote in own:
                ours = own[theirs.remote]
                self._same[theirs.id] = hosts.Project(theirs.id, ours.path, ours.remote)
                self._moved[theirs.id] = (theirs.path, ours.path)

    def _path_of(self, id_: str, cwd: str) -> Path | None:
        """Where this host has a project in which an operation worked at `cwd`."""
        folder = Path(os.path.realpath(cwd))
        if not is_within(folder, self._settings.roots) or not folder.is_dir():
            return None
        # Who names a folder by its path has that as the project.
        paths = (project_at(self._settings, folder).path, folder)
        return next((path for path in paths if project_id(path) == id_), None)

    def _project(self, id_: str, path: Path) -> hosts.Project:
        return hosts.Project(ProjectId(id_), str(path), self._remote(path))

    def _remote(self, path: Path) -> str | None:
        try:
            changed_at = (path / ".git" / "config").stat().st_mtime_ns
        except OSError:
            return None  # no repository; a worktree is not one of its own
        if path not in self._remotes or self._remotes[path][0] != changed_at:
            self._remotes[path] = (changed_at, git.origin(str(path)))
        return self._remotes[path][1]


@asynccontextmanager
async def in_fleet(
    settings: Settings, book: Book, territory: Territory, codex_version: Callable[[], str | None]
) -> AsyncIterator[Presence | None]:
    """Be one of the fleet for as long as this lasts; None where the book is a file.

    Raises StateBusy when another host has this name, or another worker this host.
    """
    if settings.database_url is None:
        yield None
        return
    card = hosts.Card(
        home_mark(settings.home_mark),
        str(settings.codex_home),
        settings.host_capacity,
        settings.host_labels,
    )
    number = await book.write(lambda writing: hosts.enrol(writing, card))

    seconds = settings.requeue_after_seconds
    patience = None if seconds is None else Patience(book, seconds)

    async def say_what_we_have() -> None:
        with suppress(StateBusy):
            await book.read(territory.search)
            await book.write(
                lambda writing: hosts.hear(writing, codex_version(), territory.projects)
            )

    async def look_around() -> None:
        await say_what_we_have()
        if patience is not None:
            with suppress(StateBusy):
                await patience.look()

    async with present(settings.database_url.secret, book, number, look_around) as presence:
        await say_what_we_have()
        yield presence


def home_mark(path: Path) -> str:
    """What tells this host's state from every other; drawn when it is first asked for. The caller
    holds the worker lock."""
    if not path.exists():
        replace_file(str(path), secrets.token_hex(16).encode())
    return path.read_text(encoding="ascii").strip()
