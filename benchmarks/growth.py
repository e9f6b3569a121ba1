"""Growth: what the book takes on disk for each streamed delta, and for each task.

The same tasks run twice in books of their own, with 200 deltas each and with one; the difference is
the deltas', the rest the task's. Deltas come at 100 a second, as from a quick model. The file is
measured after the worker has left, so with nothing in the WAL.
"""

from collections.abc import Iterator

from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

AT_ONCE = 8
DELTAS = 200
#: What the model says in 200 deltas: each is a word of about 8 characters.
TEXT_BYTES = sum(len(f"word{number} ") for number in range(1, DELTAS + 1)) - 1

LIMITS = {f"max_active_turns_{scope}": AT_ONCE for scope in ("global", "per_project")}


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    tasks = rounds.of(48, 8)
    empty = _book_after(installation, 0, 0)
    short = _book_after(installation, tasks, 1)
    long = _book_after(installation, tasks, DELTAS)
    yield Figure(
        what="book, for each delta",
        unit="B",
        ours=spread([(long - short) / (tasks * (DELTAS - 1))]),
        beside=spread([TEXT_BYTES / DELTAS]),
        beside_is="the delta's own text",
        aim=Aim(limit=20),
        note=f"{tasks} tasks of {DELTAS} deltas",
    )
    yield Figure(
        what="book, for each task",
        unit="kB",
        ours=spread([(short - empty) / tasks / 1000]),
        note="with one delta",
    )


def _book_after(installation: Installation, tasks: int, words: int) -> int:
    """The size of a book in which so many tasks were done."""
    with stage(installation, **LIMITS) as place:
        with place.client() as client:
            waiting = [
                place.submit(client, f"Task {number}.\nstream {words} words every 10ms")
                for number in range(tasks)
            ]
            for operation_id in waiting:
                place.until(client, operation_id, "completed")
        place.end_worker()
        return _bytes(place)


def _bytes(place: Stage) -> int:
    beside = place.state_db.with_name(f"{place.state_db.name}-wal")
    return place.state_db.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
