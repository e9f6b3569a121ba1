"""This host in its fleet: who it is, what it can run, and its place there."""

import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from codex_control_plane_mcp.desk.projects import catalogue, project_at
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.model.policy import is_within
from codex_control_plane_mcp.model.schedule import Reach
from codex_control_plane_mcp.paths import replace_file
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import hosts, operations
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.presence import Presence, present
from codex_control_plane_mcp.work.requeue import Patience

#: The disk is searched for projects again this long after it was.
SEARCH_SECONDS = 10.0


class Territory:
    """The projects that this host has: those in which it may take what runs anywhere."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._searched_at = -SEARCH_SECONDS
        #: Paths by project.
        self.projects: dict[str, str] = {}

    def reach(self, reading: Reading) -> Reach:
        """What this host can run of that which the book knows."""
        for project_id, cwd, _ in operations.projects(reading):
            if project_id not in self.projects and self._has(project_id, cwd):
                self.projects[project_id] = cwd
        if time.monotonic() - self._searched_at >= SEARCH_SECONDS:
            self.search()
        return Reach(
            HostId(self._settings.book_host),
            frozenset(self.projects),
            self._settings.host_capacity,
        )

    def search(self) -> None:
        """Look at the disk for projects."""
        self._searched_at = time.monotonic()
        self.projects |= {one.id: str(one.path) for one in catalogue(self._settings, ())}

    def _has(self, project_id: str, cwd: str) -> bool:
        folder = Path(os.path.realpath(cwd))
        return (
            is_within(folder, self._settings.roots)
            and folder.is_dir()
            and project_at(self._settings, folder).id == project_id
        )


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
        home_mark(settings.home_mark), str(settings.codex_home), settings.host_capacity
    )
    number = await book.write(lambda writing: hosts.enrol(writing, card))

    seconds = settings.requeue_after_seconds
    patience = None if seconds is None else Patience(book, seconds)

    async def say_what_we_have() -> None:
        with suppress(StateBusy):
            await book.write(
                lambda writing: hosts.hear(writing, codex_version(), territory.projects)
            )

    async def look_around() -> None:
        await say_what_we_have()
        if patience is not None:
            with suppress(StateBusy):
                await patience.look()

    territory.search()
    async with present(settings.database_url.secret, book, number, look_around) as presence:
        await say_what_we_have()
        yield presence


def home_mark(path: Path) -> str:
    """What tells this host's state from every other; drawn when it is first asked for. The caller
    holds the worker lock."""
    if not path.exists():
        replace_file(str(path), secrets.token_hex(16).encode())
    return path.read_text(encoding="ascii").strip()
