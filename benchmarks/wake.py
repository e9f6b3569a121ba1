"""Wake: from Codex's word that the turn is over to the return of the call that waited for it.

A second subscriber on the same app-server hears `turn/completed` at the moment we do. Two clients
wait meanwhile, one with codex_get_operation_status, one with codex_wait.
"""

import asyncio
from collections.abc import Iterator

from benchmarks import raw
from benchmarks.client import Client
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage

#: For both calls to be waiting when the turn ends.
SETTLE_SECONDS = 0.1


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    with stage(installation) as place:
        status, wait = asyncio.run(_wait(place, rounds.of(40, 8)))
    for tool, times in (("codex_get_operation_status", status), ("codex_wait", wait)):
        yield Figure(
            what="turn/completed → waiting client",
            unit="ms",
            ours=spread(times),
            aim=Aim(limit=50),
            note=tool,
        )


async def _wait(place: Stage, count: int) -> tuple[list[float], list[float]]:
    status, wait = [], []
    with place.client() as one, place.client() as other:
        place.do(one, "Begin.\nsay hello")
        async with raw.connected(place.app_server()) as codex:
            for number in range(count):
                ended_at, heard = await _round(place, codex, one, other, f"gate-{number}")
                status.append((heard[0] - ended_at) * 1000)
                wait.append((heard[1] - ended_at) * 1000)
    return status, wait


async def _round(
    place: Stage, codex: raw.Raw, one: Client, other: Client, gate: str
) -> tuple[float, tuple[float, float]]:
    """When the turn ended, and when each of the two clients knew."""
    operation_id = place.submit(one, f"Wait for {gate}.\nhold {gate}\nsay done")
    thread_id = place.until(one, operation_id, "running")["threadId"]
    place.model.wait_for(gate)
    await codex.subscribe(thread_id)

    def by_status() -> float:
        seen = one.call("codex_get_operation_status", operation_id=operation_id, wait_seconds=45)
        assert seen.content["status"] == "completed", seen.content["status"]
        return seen.at

    def by_wait() -> float:
        cursor = other.call("codex_wait", operation_ids=[operation_id], wait_seconds=0)
        seen = other.call(
            "codex_wait",
            operation_ids=[operation_id],
            wait_seconds=45,
            cursor=cursor.content["cursor"],
        )
        assert seen.content["unfinished"] == 0, seen.content
        return seen.at

    waiting = [asyncio.create_task(asyncio.to_thread(call)) for call in (by_status, by_wait)]
    await asyncio.sleep(SETTLE_SECONDS)
    await asyncio.to_thread(place.model.release, gate)
    ended_at = await codex.end_of(thread_id)
    return ended_at, (await waiting[0], await waiting[1])
