"""Where a task works: its folder, the project that counts it, and the host that may run it."""

from collections.abc import Sequence
from pathlib import Path

from codex_control_plane_mcp.desk import projects
from codex_control_plane_mcp.desk.placing import names_nobody, placement
from codex_control_plane_mcp.desk.projects import Place, Touched
from codex_control_plane_mcp.desk.records import OffLoop
from codex_control_plane_mcp.desk.runtime import RuntimeView
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import ANYWHERE, Placement
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.book import Book, Reading


class Places:
    """Finds the place of a task: as its caller names it, as the book knows its thread, or as Codex
    tells. Raises InvalidArgument and ProjectNotFound for what is not allowed, or not there."""

    def __init__(
        self, book: Book, settings: Settings, runtime: RuntimeView, off_loop: OffLoop
    ) -> None:
        self._book = book
        self._settings = settings
        self._runtime = runtime
        self._off_loop = off_loop

    async def placement(self, task: Task) -> Placement:
        """The host, or the labels of one, that a task asks for."""
        if names_nobody(task.host, task.host_labels):
            return ANYWHERE
        return await self._book.read(
            lambda reading: placement(reading, self._settings, task.host, task.host_labels)
        )

    async def of(self, task: Task) -> Place:
        """The folder of a task, and its project. A thread stays where it is."""
        known_by = task.thread_id or task.source_thread_id
        known = None if known_by is None else await self.known_home(ThreadId(known_by))
        if (
            known is not None
            and known.elsewhere is None
            and not await self._off_loop(lambda: Path(known.cwd).is_dir())
        ):
            raise InvalidArgument(
                f"the worktree of this thread is gone ({known.cwd}): start a new chat", field="cwd"
            )
        if known is not None and not task.project and task.cwd in (None, known.cwd):
            return known
        named = await self.named(task.project, task.cwd) if task.project or task.cwd else None
        if known_by is None:
            return named or projects.place(self._settings, [], project=None, cwd=None)
        home = known or named or await self.told_home(ThreadId(known_by))
        if named is not None and (
            named.project_id != home.project_id or (task.cwd and named.cwd != home.cwd)
        ):
            raise InvalidArgument(
                f"this thread works in {home.cwd}: leave project_id and cwd out", field="cwd"
            )
        return home

    async def known_home(self, thread_id: ThreadId) -> Place | None:
        """Where a thread works as we know it, if that is still allowed."""

        def look(reading: Reading) -> tuple[Operation | None, Operation | None]:
            newest = lookup.newest_in_thread(reading, thread_id)
            maker = None if newest is None else projects.maker_of(self._settings, newest.cwd)
            return newest, None if maker is None else lookup.get(reading, maker)

        newest, maker = await self._book.read(look)
        if newest is None:
            return None
        project_id = newest.request.project_id
        if newest.host not in (None, self._book.host):
            # That host allowed it, by its own roots, when it took the thread's first task.
            return Place(newest.cwd, project_id, elsewhere=newest.host)
        # The roots may have been narrowed since. A worktree is as allowed as what it was made from.
        origin = newest.cwd if maker is None else maker.folder
        await self._off_loop(
            lambda: projects.allowed_folder(self._settings, "the thread's cwd", origin)
        )
        return Place(newest.cwd, project_id)

    async def told_home(self, thread_id: ThreadId) -> Place:
        """Where a thread works as Codex says, which may have to be started for it."""
        folder = await self._runtime.folder_of(thread_id)
        if folder is None:
            raise InvalidArgument(
                "this thread is not known here, and Codex cannot be asked: say where it works with "
                "project_id or cwd",
                field="cwd",
            )
        return await self._off_loop(
            lambda: projects.place(self._settings, (), project=None, cwd=folder)
        )

    async def named(self, project: str | None, cwd: str | None) -> Place:
        """The place that a caller names by project, by folder, or by both."""
        touched = await self.touched() if project else ()
        return await self._off_loop(
            lambda: projects.place(self._settings, touched, project=project, cwd=cwd)
        )

    async def touched(self) -> Sequence[Touched]:
        """The folder that each project was last worked in."""

        def look(reading: Reading) -> list[Touched]:
            return [Touched(cwd, at) for _, cwd, at in lookup.projects(reading)]

        return await self._book.read(look)
