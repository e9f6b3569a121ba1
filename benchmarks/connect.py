"""Connect: from the start of the pipe to the answer to `initialize`, and what the pipe weighs.

Beside it a bare Python loop that reads JSON and answers: nothing in Python can be faster. The two
take turns, so that a busy moment of the machine hits both.
"""

import time
from collections.abc import Iterator

import psutil

from benchmarks.client import started
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

MEGABYTE = 1_000_000


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    with stage(installation) as place:
        yield from _cold(place, rounds.of(7, 3))
        yield from _with_the_worker_up(place, rounds.of(60, 15))


def _cold(place: Stage, count: int) -> Iterator[Figure]:
    """No worker runs: the pipe answers by itself, and starts one, which answers the first call. The
    first start also makes the database."""
    connected, called = [], []
    for _ in range(count):
        place.end_worker()
        began = time.perf_counter()
        with started(place.installation.server, place.environ) as (client, seconds):
            client.request("tools/list", {})
            connected.append(seconds * 1000)
            called.append((client.call("codex_health_summary").at - began) * 1000)
    what = "connect, no worker yet"
    yield Figure(what=what, unit="ms", ours=spread(connected), aim=Aim(limit=1500))
    yield Figure(
        what="the first call answered, no worker yet",
        unit="ms",
        ours=spread(called),
        note="from the start of the pipe",
    )


def _with_the_worker_up(place: Stage, count: int) -> Iterator[Figure]:
    ours, bare, our_weight, bare_weight = [], [], [], []
    with place.client():
        for _ in range(count):
            with started(place.installation.bare, place.environ) as (client, seconds):
                bare.append(seconds * 1000)
                bare_weight.append(_weight(client.pid))
            with started(place.installation.server, place.environ) as (client, seconds):
                ours.append(seconds * 1000)
                client.request("tools/list", {})
                our_weight.append(_weight(client.pid))
    yield Figure(
        what="connect, worker up",
        unit="ms",
        ours=spread(ours),
        beside=spread(bare),
        beside_is="bare Python JSON loop",
        aim=Aim(limit=25),
    )
    yield Figure(
        what="memory of the pipe (RSS)",
        unit="MB",
        ours=spread(our_weight),
        beside=spread(bare_weight),
        beside_is="bare Python JSON loop",
        aim=Aim(limit=13),
        note="after tools/list",
    )


def _weight(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MEGABYTE
