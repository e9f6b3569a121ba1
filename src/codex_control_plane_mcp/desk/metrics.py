"""The state of everything in numbers, for whoever watches over many machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.schedule import Limits, slots
from codex_control_plane_mcp.store import counts, interactions, notices, queue, workers
from codex_control_plane_mcp.store.book import Reading


@dataclass(frozen=True, slots=True)
class Metrics:
    """Made without arguments it is that of an empty book."""

    #: Every operation of the book, by its status; each status is there.
    operations: Mapping[Status, int] = field(default_factory=lambda: dict.fromkeys(Status, 0))
    queue_depth: int = 0
    oldest_queued_seconds: float = 0.0
    #: Operations that take one of the global slots.
    active_turns: int = 0
    active_turns_limit: int = 0
    pending_interactions: int = 0
    oldest_pending_interaction_seconds: float = 0.0
    #: By how they ended, since the latest worker took over; each end is there.
    turns_ended: Mapping[Status, int] = field(
        default_factory=lambda: {status: 0 for status in Status if status in FINAL}
    )
    #: Given up: nobody was told.
    dead_notices: int = 0
    #: The latest has not said that it leaves; one that was killed does not.
    worker_present: bool = False
    worker_started_at: Moment | None = None


def measure(reading: Reading, limits: Limits, host: HostId, now: Moment) -> Metrics:
    """All of one moment; `host` is whose worker is meant."""
    empty = Metrics()
    unfinished = counts.unfinished(reading)
    queued = unfinished.get(Status.QUEUED)
    asked_at = counts.oldest_question(reading)
    worker = workers.latest(reading, host)
    turns_ended = {} if worker is None else counts.turns_ended(reading, worker.started_at)
    return Metrics(
        operations={
            **empty.operations,
            **{status: found.count for status, found in unfinished.items()},
            **counts.ended(reading),
        },
        queue_depth=0 if queued is None else queued.count,
        oldest_queued_seconds=0.0 if queued is None else seconds_between(queued.oldest, now),
        active_turns=sum(1 for job in queue.active_jobs(reading) if slots(job)),
        active_turns_limit=limits.everywhere,
        pending_interactions=interactions.open_count(reading),
        oldest_pending_interaction_seconds=(
            0.0 if asked_at is None else seconds_between(asked_at, now)
        ),
        turns_ended={**empty.turns_ended, **turns_ended},
        dead_notices=notices.dead_count(reading),
        worker_present=worker is not None and worker.left_at is None,
        worker_started_at=None if worker is None else worker.started_at,
    )
