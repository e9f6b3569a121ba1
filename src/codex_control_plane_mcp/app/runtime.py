"""Tells the desk what the rest of the house knows."""

from collections.abc import Sequence

import anyio

from codex_control_plane_mcp import errors
from codex_control_plane_mcp.codex.binary import find_binary
from codex_control_plane_mcp.codex.errors import BinaryNotFound, CodexError, ThreadNotFound
from codex_control_plane_mcp.codex.supervisor import Status, Supervisor
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexState
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.work.workshop import Workshop

#: Codex answers in a few milliseconds; a list of projects is not worth a longer wait.
PROJECTS_SECONDS = 2.0
#: A caller waits for this one, and Codex may have to be started for it.
FOLDER_SECONDS = 15.0


class Runtime:
    """The desk's `RuntimeView` of one running house."""

    def __init__(self, settings: Settings, supervisor: Supervisor, workshop: Workshop) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._workshop = workshop

    def app_server(self) -> AppServerState:
        status = self._supervisor.status()
        return AppServerState(
            running=status.alive is True,
            pid=status.process.pid if status.process and status.alive else None,
            version=status.version,
            transport=status.transport,
            ownership="own" if status.owned else "shared",
            active_turns=self._workshop.active if status.alive else None,
            problem=_problem(status),
        )

    def codex(self) -> CodexState:
        stated = self._settings.codex_binary
        status = self._supervisor.status()
        try:
            return CodexState(
                binary=find_binary(str(stated) if stated else None),
                # While a former Codex does the work, nothing is broken.
                problem=None if status.alive else status.passed_over,
            )
        except BinaryNotFound as error:
            return CodexState(problem=str(error))

    async def codex_projects(self) -> Sequence[str]:
        session = self._workshop.line.present
        if session is None:
            return ()
        try:
            with anyio.fail_after(PROJECTS_SECONDS):
                page = await session.list_projects()
        except (CodexError, TimeoutError):
            return ()
        return tuple(path for project in page.data for path in project.roots)

    async def folder_of(self, thread_id: ThreadId) -> str | None:
        try:
            with anyio.fail_after(FOLDER_SECONDS):
                async with self._workshop.line.session() as session:
                    return (await session.read_thread(thread_id)).cwd
        except ThreadNotFound as error:
            raise errors.ThreadNotFound(
                "Codex knows no such thread; take the threadId from a task's status or a chat list",
                threadId=thread_id,
            ) from error
        except (CodexError, TimeoutError):
            return None


def _problem(status: Status) -> str | None:
    """What does not work as it should while the app-server runs."""
    if not status.alive:
        return None
    if status.passed_over is not None:
        return f"{status.passed_over}. Until then the former one goes on"
    if status.fit is not None and status.fit.degraded:
        return f"this Codex does without: {'; '.join(status.fit.degraded)}"
    return None
