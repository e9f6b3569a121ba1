"""Whether a limit was ever passed: told from the operations on record, and from nothing else.

It counts for itself, in other words than the schedule's, so that the two cannot be wrong together.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import OperationType, sandbox_of
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.book import Book, Reading


@dataclass
class LimitWatch:
    """Looks at who has a turn, again and again, and remembers how full it ever was."""

    limits: Limits
    #: The highest count of each kind.
    most: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def look(self, book: Book) -> None:
        """At the book as it is: to be called after every commit."""
        self.see(book.read_now(active))

    def look_back(self, book: Book) -> None:
        """At every moment that the book tells of: whenever something started, at all that had
        started by then and not ended. The last to start is where a limit would have been passed."""
        every = [one for one in book.read_now(lookup.every) if one.started_at is not None]
        for latest in every:
            moment = latest.started_at
            assert moment is not None
            self.see([one for one in every if _runs_at(one, moment) or one is latest])

    def see(self, active: Sequence[Operation]) -> None:
        turns = [one for one in active if one.request.type is not OperationType.STEER_TURN]
        limits = self.limits
        self._count("everywhere", limits.everywhere, [""] * len(turns))
        self._count("project", limits.per_project, [one.request.project_id for one in turns])
        self._count("agent", limits.per_agent, [one.agent_id for one in turns if one.agent_id])
        self._count("thread", 1, [one.thread_id for one in turns if one.thread_id])
        writers = [one for one in turns if sandbox_of(one.request) is not Sandbox.READ_ONLY]
        self._count(
            "writes", limits.writing_per_project, [one.request.project_id for one in writers]
        )
        for one, other in combinations(turns, 2):
            if one.request.project_id == other.request.project_id and _meet(one, other):
                self.broken.append(f"{one.id} and {other.id} work on the same")

    def _count(self, kind: str, limit: int, names: Sequence[str]) -> None:
        for name, number in Counter(names).items():
            self.most[kind] = max(self.most[kind], number)
            if number > limit:
                self.broken.append(f"{kind} {name}: {number} of {limit}")


def active(reading: Reading) -> list[Operation]:
    query = "SELECT id FROM operations WHERE started_at IS NOT NULL AND completed_at IS NULL"
    return lookup.many(reading, [row.id for row in reading.exec_driver_sql(query)])


def _runs_at(operation: Operation, moment: int) -> bool:
    assert operation.started_at is not None
    return operation.started_at <= moment and (
        operation.completed_at is None or operation.completed_at > moment
    )


def _meet(one: Operation, other: Operation) -> bool:
    """Whether a key of the one is a folder of, or in, a key of the other."""
    return any(
        a[: len(b)] == b or b[: len(a)] == a
        for a in map(_parts, one.resource_keys)
        for b in map(_parts, other.resource_keys)
    )


def _parts(key: str) -> list[str]:
    return key.split("/") if key else []
