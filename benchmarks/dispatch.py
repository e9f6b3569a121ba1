"""Dispatch: from the call that submits a task to the arrival of its request at the model.

Beside it the same by hand, over an open connection to the same app-server: thread/start, then
turn/start. The two take turns. What lies between is ours: three commits, and two processes.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator

from benchmarks import raw
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

WARMING_UP = 3
AIM_MILLISECONDS = 10


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    with stage(installation) as place:
        pairs = asyncio.run(_take_turns(place, WARMING_UP + rounds.of(60, 10)))
    yield Figure(
        what="submit → request at the model",
        unit="ms",
        ours=spread(ours for ours, _ in pairs),
        beside=spread(bare for _, bare in pairs),
        beside_is="raw thread/start + turn/start",
        aim=Aim(limit=AIM_MILLISECONDS, words=f"raw + {AIM_MILLISECONDS}"),
        judged=statistics.median(ours - bare for ours, bare in pairs),
    )


async def _take_turns(place: Stage, count: int) -> list[tuple[float, float]]:
    """For each round the milliseconds of ours and of the bare one."""
    began: dict[str, float] = {}
    with place.client() as client:
        # The first task brings Codex up.
        place.do(client, "Begin.\nsay hello")
        async with raw.connected(place.app_server()) as codex:
            for number in range(count):
                # Nobody asks the worker anything until the request has arrived.
                ours, bare = f"ours-{number}", f"bare-{number}"
                began[ours] = time.time()
                operation_id = place.submit(client, f"{ours}\nhold {ours}\nsay done")
                place.model.wait_for(ours)
                place.model.release(ours)
                place.until(client, operation_id, "completed")
                began[bare] = time.time()
                thread_id = await codex.start(f"{bare}\nhold {bare}\nsay done", place.project)
                place.model.wait_for(bare)
                place.model.release(bare)
                await codex.end_of(thread_id)
    came = place.model.arrivals()

    def milliseconds(name: str) -> float:
        return (came[name] - began[name]) * 1000

    return [
        (milliseconds(f"ours-{number}"), milliseconds(f"bare-{number}"))
        for number in range(WARMING_UP, count)
    ]
