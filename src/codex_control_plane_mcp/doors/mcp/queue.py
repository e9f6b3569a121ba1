"""The tools that look at the queue and at the workers."""

from typing import Annotated, Any

from pydantic import Field

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.queue import (
    QueueLook,
    QueueStatus,
    WorkerLook,
    WorkerStatus,
)
from codex_control_plane_mcp.desk.views_queue import QueueView, WorkersView
from codex_control_plane_mcp.doors.mcp.arguments import Arguments, given
from codex_control_plane_mcp.doors.mcp.fit import drop_last
from codex_control_plane_mcp.doors.mcp.tool import READS, Shown, Tool


class GetQueueStatus(Arguments):
    limit: Annotated[int, Field(ge=1, le=100)] | None = None
    status: QueueStatus | None = None


class GetWorkerStatus(Arguments):
    limit: Annotated[int, Field(ge=1, le=50)] | None = None
    status: WorkerStatus | None = None


async def _queue(desk: Desk, wanted: GetQueueStatus, _by: str) -> Shown:
    found = await desk.queue_status(QueueLook(**given(wanted, "limit", "status")))
    return Shown((found,), (drop_last("hosts"), drop_last("queued"), drop_last("active")))


async def _workers(desk: Desk, wanted: GetWorkerStatus, _by: str) -> Shown:
    found = await desk.worker_status(WorkerLook(**given(wanted, "limit", "status")))
    return Shown((found,), (drop_last("workers"),))


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_get_queue_status",
        "What waits and why, what runs with the slots it takes, and the limits.",
        GetQueueStatus,
        (QueueView,),
        READS,
        _queue,
        toolset="read",
        repeatable=True,
    ),
    Tool(
        "codex_get_worker_status",
        "The worker processes on record, and what the present one drives.",
        GetWorkerStatus,
        (WorkersView,),
        READS,
        _workers,
        toolset="read",
        repeatable=True,
    ),
)
