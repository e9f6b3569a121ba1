"""Puts threads away and brings them back.

Either may be asked for again after any doubt: what is so already is found to be so.
"""

from collections.abc import Awaitable, Callable

from codex_control_plane_mcp.codex.errors import ThreadArchived, ThreadElsewhere, ThreadNotFound
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words.verbs import ResumeThread
from codex_control_plane_mcp.model.operation import Done, Report
from codex_control_plane_mcp.model.request import ArchiveThread, UnarchiveThread

_WAS_NOT_ARCHIVED = Done(Report("The thread was not archived.", None))


async def file(
    request: ArchiveThread | UnarchiveThread,
    session: CodexSession,
    wait_until_idle: Callable[[], Awaitable[object]],
) -> Done:
    """Do it, or find that it is done. Raises CodexError; ThreadNotFound when there is none."""
    match request:
        case ArchiveThread(thread_id=thread_id):
            try:
                await session.resume_thread(ResumeThread(thread_id))
            except ThreadArchived:
                return Done(Report("The thread was archived already.", None))
            # Codex would end a turn that runs in it.
            await wait_until_idle()
            await session.archive_thread(thread_id)
            return Done(Report("The thread is archived.", None))
        case UnarchiveThread(thread_id=thread_id):
            try:
                await session.unarchive_thread(thread_id)
            except ThreadElsewhere:
                # Somebody has it loaded, so it is in use.
                return _WAS_NOT_ARCHIVED
            except ThreadNotFound:
                await session.resume_thread(ResumeThread(thread_id))
                return _WAS_NOT_ARCHIVED
            return Done(Report("The thread is back.", None))
