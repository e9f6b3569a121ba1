"""Load: 16 turns of 200 deltas each at once, through the product and by hand.

The same app-server and the same model serve both; the two take turns. From the first call to the
last end that the client knows of. On few cores the model itself is most of it: it cannot be less
than raw, and whatever the worker computes is added to it.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator

import psutil

from benchmarks import raw
from benchmarks.client import Client
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

TURNS = 16
DELTAS = 200
MORE = 1.1

LIMITS = {f"max_active_turns_{scope}": 2 * TURNS for scope in ("global", "per_project")}


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    ours: list[float] = []
    bare: list[float] = []
    worked: list[float] = []

    async def take_turns(place: Stage, count: int) -> None:
        with place.client() as client:
            place.do(client, "Begin.\nsay hello")
            worker = place.worker()
            assert worker is not None
            async with raw.connected(place.app_server()) as codex:
                for number in range(count):
                    bare.append(await _by_hand(place, codex, f"bare {number}"))
                    before = _cpu_seconds(worker)
                    ours.append(_through_the_product(place, client, f"ours {number}"))
                    worked.append(_cpu_seconds(worker) - before)

    with stage(installation, **LIMITS) as place:
        asyncio.run(take_turns(place, rounds.of(7, 2)))
    yield Figure(
        what=f"{TURNS} turns x {DELTAS} deltas at once",
        unit="s",
        ours=spread(ours),
        beside=spread(bare),
        beside_is="raw, same app-server",
        aim=Aim(limit=MORE, words=f"{MORE} x raw"),
        judged=statistics.median(one / other for one, other in zip(ours, bare, strict=True)),
    )
    yield Figure(what="CPU of the worker meanwhile", unit="s", ours=spread(worked))


async def _by_hand(place: Stage, codex: raw.Raw, name: str) -> float:
    async def turn(number: int) -> None:
        prompt = f"{name}, turn {number}\nstream {DELTAS} words"
        await codex.end_of(await codex.start(prompt, place.project))

    began = time.perf_counter()
    await asyncio.gather(*(turn(number) for number in range(TURNS)))
    return time.perf_counter() - began


def _through_the_product(place: Stage, client: Client, name: str) -> float:
    began = time.perf_counter()
    operation_ids = [
        place.submit(client, f"{name}, turn {number}\nstream {DELTAS} words")
        for number in range(TURNS)
    ]
    more: dict[str, object] = {}
    while True:
        seen = client.call("codex_wait", operation_ids=operation_ids, wait_seconds=45, **more)
        more = {"cursor": seen.content["cursor"]}
        if seen.content["unfinished"] == 0:
            return time.perf_counter() - began


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
