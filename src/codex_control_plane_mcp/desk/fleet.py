"""The hosts of a fleet: who is there, what each has in hand, and what waits for who is away."""

from collections import Counter

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import hosts, queue
from codex_control_plane_mcp.store.book import Reading

#: The reason of whom nothing keeps in the queue.
ABOUT_TO_START = "it is about to start"


def host_lines(reading: Reading) -> tuple[HostLine, ...]:
    """Every host by name, but those that are missed first; none where there is no fleet."""
    known = hosts.every(reading)
    if not known:
        return ()
    active = Counter(job.host for job in queue.active_jobs(reading) if job.takes_turn)
    queued = queue.queued_by_host(reading)
    lines = [
        HostLine(
            host=host.id,
            present=host.is_there,
            seen_at=host.seen_at,
            capacity=host.card.capacity,
            active_turn_count=active[host.id],
            queued_count=queued.get(host.id, 0),
            codex_version=host.codex_version,
            worker_version=host.worker_version,
        )
        for host in known
    ]
    return tuple(sorted(lines, key=lambda line: not line.is_missed))


def front(reading: Reading, limits: Limits, now: Moment, most: int) -> list[tuple[Operation, str]]:
    """The first of the queue in its order, and why each of them waits."""
    waiting = queue.front(reading, limits, now, most)
    free = [queue.job_of(one) for one, reason in waiting if reason is None]
    absent = hosts.absences(reading, free, queue.active_jobs)
    return [(one, reason or absent.get(one.id, ABOUT_TO_START)) for one, reason in waiting]


def last_obstacle(reading: Reading, operation: Operation) -> str:
    """Why a queued operation has not started that no limit keeps from it."""
    job = queue.job_of(operation)
    absent = hosts.absences(reading, [job], queue.active_jobs)
    return absent.get(operation.id, ABOUT_TO_START)
