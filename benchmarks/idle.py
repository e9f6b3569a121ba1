"""Idle: what the worker computes while nothing happens, with a client connected and with none.

Counted in the system's ticks of (mostly) 10 ms: over 20 s one tick is 0.05 %.
"""

import time
from collections.abc import Iterator

import psutil

from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, stage

#: For what the last task left to do.
SETTLE_SECONDS = 3.0


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    seconds = rounds.of(20, 5)
    with stage(installation) as place:
        with place.client() as client:
            place.do(client, "Begin.\nsay hello")
            worker, identity = place.worker(), place.app_server().process
            assert worker is not None
            assert identity is not None
            app_server = psutil.Process(identity.pid)
            time.sleep(SETTLE_SECONDS)
            with_client = _percent([worker, app_server], seconds)
        time.sleep(SETTLE_SECONDS)
        alone = _percent([worker, app_server], seconds)
        weight = worker.memory_info().rss / 1_000_000
    for who, (ours, codex) in (("one client", with_client), ("no client", alone)):
        yield Figure(
            what=f"idle worker, {who}",
            unit="% CPU",
            ours=spread([ours]),
            beside=spread([codex]),
            beside_is="the idle app-server",
            aim=Aim(limit=0.2),
            note=f"over {seconds} s",
        )
    yield Figure(what="memory of the worker (RSS)", unit="MB", ours=spread([weight]))


def _percent(processes: list[psutil.Process], seconds: int) -> list[float]:
    """What each used of one core."""
    before = [_cpu_seconds(process) for process in processes]
    began = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - began
    return [
        100 * (_cpu_seconds(process) - used) / took
        for process, used in zip(processes, before, strict=True)
    ]


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
