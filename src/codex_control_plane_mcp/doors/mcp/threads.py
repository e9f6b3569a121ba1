"""The tools that work on a thread as a whole."""

from typing import Any

from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.threads import Action
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp.tool import READS, Hints, Shown, Tool
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.request import ArchiveThread, CompactThread, UnarchiveThread


def _acting(
    name: str, description: str, action: Action, *, repeatable: bool
) -> Tool[args.ThreadAction]:
    async def call(desk: Desk, wanted: args.ThreadAction, _by: str) -> Shown:
        return Shown((await desk.act(action, wanted.thread_id),))

    return Tool(
        name,
        description,
        args.ThreadAction,
        (views.ActionView,),
        Hints(idempotent=repeatable),
        call,
        toolset="lifecycle",
        repeatable=repeatable,
    )


async def _compaction(desk: Desk, wanted: args.CompactionStatus, _by: str) -> Shown:
    found = await desk.action(OperationId(wanted.action_id), wanted.wait_seconds or 0)
    return Shown((found,))


TOOLS: tuple[Tool[Any], ...] = (
    _acting(
        "codex_archive_thread",
        "Put a thread away; a turn that runs in it is waited for.",
        ArchiveThread,
        repeatable=True,
    ),
    _acting(
        "codex_unarchive_thread",
        "Bring an archived thread back.",
        UnarchiveThread,
        repeatable=True,
    ),
    _acting(
        "codex_start_thread_compaction",
        "Have Codex sum up a long thread and go on with the summary; returns actionId.",
        CompactThread,
        repeatable=False,
    ),
    Tool(
        "codex_get_thread_compaction_status",
        "How a compaction stands.",
        args.CompactionStatus,
        (views.ActionView,),
        READS,
        _compaction,
        toolset="lifecycle",
        repeatable=True,
    ),
)
