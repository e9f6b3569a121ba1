"""Who waits and why, what runs, and who has worked: looks into the book, and nothing else."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, TypeAlias

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.desk.fleet import front, host_lines
from codex_control_plane_mcp.desk.views_queue import (
    ActiveLine,
    LimitsView,
    QueuedLine,
    QueueView,
    WorkerLine,
    WorkersView,
)
from codex_control_plane_mcp.model.ids import Generation, HostId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.schedule import Limits, slots
from codex_control_plane_mcp.store import lookup, queue, workers
from codex_control_plane_mcp.store.book import Reading
from codex_control_plane_mcp.store.workers import Worker

QueueStatus: TypeAlias = Literal["queued", "active"]
WorkerStatus: TypeAlias = Literal["present", "left", "replaced"]


@dataclass(frozen=True, slots=True)
class QueueLook:
    limit: int = 20
    #: Only these; the counts are of all.
    status: QueueStatus | None = None


@dataclass(frozen=True, slots=True)
class WorkerLook:
    limit: int = 5
    status: WorkerStatus | None = None


def queue_status(reading: Reading, wanted: QueueLook, limits: Limits, now: Moment) -> QueueView:
    active = queue.active_jobs(reading)
    waiting = [] if wanted.status == "active" else front(reading, limits, now, wanted.limit)
    shown = [] if wanted.status == "queued" else active[: wanted.limit]
    return QueueView(
        queued_count=queue.queued_count(reading),
        active_count=len(active),
        queued=tuple(
            _queued(operation, place, reason, now)
            for place, (operation, reason) in enumerate(waiting, 1)
        ),
        active=tuple(
            _active(operation, now) for operation in lookup.many(reading, [job.id for job in shown])
        ),
        limits=LimitsView(
            max_active_turns_global=limits.everywhere,
            max_active_turns_per_project=limits.per_project,
            max_active_turns_per_agent=limits.per_agent,
            max_active_turns_per_thread=1,
            max_active_write_turns_per_project=limits.writing_per_project,
        ),
        hosts=host_lines(reading) or None,
    )


def _queued(operation: Operation, position: int, reason: str, now: Moment) -> QueuedLine:
    return QueuedLine(
        operation_id=operation.id,
        operation_type=operation.request.type,
        position=position,
        reason=reason,
        priority=operation.priority,
        age_seconds=seconds_between(operation.created_at, now),
        project_id=operation.request.project_id,
        agent_id=operation.agent_id,
        thread_id=operation.thread_id,
        resource_keys=operation.resource_keys,
        host=operation.host or None,
    )


def _active(operation: Operation, now: Moment) -> ActiveLine:
    return ActiveLine(
        operation_id=operation.id,
        operation_type=operation.request.type,
        status=operation.status,
        slots=tuple(kind for kind, _ in slots(queue.job_of(operation))),
        age_seconds=seconds_between(operation.started_at or now, now),
        project_id=operation.request.project_id,
        agent_id=operation.agent_id,
        thread_id=operation.thread_id,
        resource_keys=operation.resource_keys,
        host=operation.host or None,
    )


def worker_status(reading: Reading, wanted: WorkerLook) -> WorkersView:
    driving: defaultdict[Generation, list[str]] = defaultdict(list)
    active = [job.id for job in queue.active_jobs(reading)]
    for operation in lookup.many(reading, active):
        driving[operation.generation].append(operation.id)
    found: list[WorkerLine] = []
    seen: set[HostId] = set()
    for worker in workers.newest_first(reading):
        status = _status(worker, is_latest=worker.host not in seen)
        seen.add(worker.host)
        if wanted.status in (None, status):
            found.append(_line(worker, status, tuple(driving[worker.generation])))
        if len(found) == wanted.limit:
            break
    return WorkersView(tuple(found))


def _status(worker: Worker, *, is_latest: bool) -> WorkerStatus:
    if worker.left_at is not None:
        return "left"
    return "present" if is_latest else "replaced"


def _line(worker: Worker, status: WorkerStatus, driving: tuple[str, ...]) -> WorkerLine:
    return WorkerLine(
        worker_id=worker.id,
        generation=worker.generation,
        status=status,
        pid=worker.pid,
        version=worker.version,
        started_at=worker.started_at,
        heartbeat_at=worker.heartbeat_at,
        left_at=worker.left_at,
        driving=driving,
        host=worker.host or None,
    )
