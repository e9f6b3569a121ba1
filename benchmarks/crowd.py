"""Crowd: what one client notices of many others.

First 16 turns stream, each as fast as a quick model speaks, while one client hands in tasks that
queue behind them. Then a hundred clients are connected at once.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil

from benchmarks.client import started
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

TURNS = 16
STREAM = "stream 3000 words every 20ms"
#: No turn ends sooner.
STREAM_SECONDS = 60.0
LIMITS = {f"max_active_turns_{scope}": TURNS for scope in ("global", "per_project")}
MEGABYTE = 1_000_000


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    with stage(installation, **LIMITS) as place:
        yield from _acknowledged(place, rounds.of(500, 50))
    with stage(installation) as place:
        yield from _connected(place, rounds.of(100, 20))


def _acknowledged(place: Stage, count: int) -> Iterator[Figure]:
    with place.client() as client:
        turns_end = time.monotonic() + STREAM_SECONDS
        turns = [place.submit(client, f"Talk {number}.\n{STREAM}") for number in range(TURNS)]
        for operation_id in turns:
            place.until(client, operation_id, "running")
        times: list[float] = []
        while len(times) < count and time.monotonic() < turns_end:
            answer = client.call(
                "codex_submit_task",
                operation_type="start_chat",
                cwd=str(place.project),
                message=f"Task {len(times)}.\nsay done",
            )
            times.append(answer.seconds * 1000)
    what = f"submit → acknowledged, while {TURNS} turns stream"
    sample = spread(times)
    yield Figure(what=what, unit="ms", ours=sample)
    yield Figure(
        what=f"{what}: 99th percentile",
        unit="ms",
        ours=spread([sample.p99]),
        aim=Aim(limit=20),
        note=f"of {len(times)}; {TURNS * 50} deltas a second",
    )


def _connected(place: Stage, count: int) -> Iterator[Figure]:
    with ExitStack() as clients:
        first = clients.enter_context(place.client())
        worker = place.worker()
        assert worker is not None
        alone = _weight(worker)
        weights = []
        for _ in range(count - 1):
            client, _seconds = clients.enter_context(
                started(place.installation.server, place.environ)
            )
            client.request("tools/list", {})
            weights.append(_weight(psutil.Process(client.pid)))
        times = [first.call("codex_list_pending_interactions").seconds * 1000 for _ in range(100)]
        among = _weight(worker)
    yield Figure(
        what=f"memory of each of {count} clients (RSS)",
        unit="MB",
        ours=spread(weights),
        aim=Aim(limit=13),
        note="after tools/list",
    )
    yield Figure(
        what=f"memory of the worker with {count} clients (RSS)",
        unit="MB",
        ours=spread([among]),
        beside=spread([alone]),
        beside_is="with one",
        note=f"{(among - alone) * 1000 / (count - 1):.0f} kB for each client",
    )
    yield Figure(
        what=f"a call, {count} clients connected",
        unit="ms",
        ours=spread(times),
        note="codex_list_pending_interactions",
    )


def _weight(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MEGABYTE
