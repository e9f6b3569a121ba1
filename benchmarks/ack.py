"""Acknowledgement: from the call of codex_submit_task to its receipt, the task being on the disk.

The one turn slot is held by a task that waits, so Codex is not what is measured; each task is taken
back before the next one. Then once more while many tasks wait in the queue. Beside it the least
that durability costs here: one SQLite transaction with `synchronous=FULL` on the same disk.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.client import Client
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

WARMING_UP = 20
LIMIT = Aim(limit=5)


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    count, queued = rounds.of(200, 30), rounds.of(200, 40)
    with stage(installation, max_active_turns_global=1) as place, place.client() as client:
        holding = place.submit(client, "Take the only slot.\nhold the-end")
        place.until(client, holding, "running")
        commits = _bare_commits(place.folder / "bare.sqlite3", count)
        alone, pings = [], []
        for number in range(WARMING_UP + count):
            seconds, operation_id = _submit(place, client, f"alone-{number}")
            client.call("codex_interrupt_turn", operation_id=operation_id)
            alone.append(seconds * 1000)
            pings.append(client.request("ping", {}).seconds * 1000)
        for number in range(queued):
            _submit(place, client, f"filling-{number}")
        crowded = [_submit(place, client, f"crowded-{number}")[0] * 1000 for number in range(50)]
    yield Figure(
        what="submit → acknowledged, on disk",
        unit="ms",
        ours=spread(alone[WARMING_UP:]),
        beside=spread(commits),
        beside_is="one bare SQLite commit",
        aim=LIMIT,
    )
    yield Figure(
        what=f"the same, {queued} tasks queued", unit="ms", ours=spread(crowded), aim=LIMIT
    )
    yield Figure(
        what="ping through pipe and worker",
        unit="ms",
        ours=spread(pings[WARMING_UP:]),
        note="the floor under every call",
    )


def _submit(place: Stage, client: Client, name: str) -> tuple[float, str]:
    answer = client.call(
        "codex_submit_task",
        operation_type="start_chat",
        cwd=str(place.project),
        message=f"{name}\nsay done",
        client_request_id=name,
    )
    return answer.seconds, answer.content["operationId"]


def _bare_commits(path: Path, count: int) -> list[float]:
    times = []
    with closing(sqlite3.connect(path, isolation_level=None)) as book:
        book.execute("PRAGMA journal_mode=WAL")
        book.execute("PRAGMA synchronous=FULL")
        book.execute("CREATE TABLE tasks (request TEXT)")
        for _ in range(count):
            began = time.perf_counter()
            book.execute("BEGIN IMMEDIATE")
            book.execute("INSERT INTO tasks VALUES (?)", ("x" * 1000,))
            book.execute("COMMIT")
            times.append((time.perf_counter() - began) * 1000)
    return times
