"""One run: set the stage, let the fleet work, kill, look at what is left of every promise."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import anyio

from codex_control_plane_mcp.selftest.real.client import Client, leave
from codex_control_plane_mcp.selftest.real.evidence import Evidence, gather
from codex_control_plane_mcp.selftest.real.fleet import Fleet
from codex_control_plane_mcp.selftest.real.promises import Breach, Harm, check
from codex_control_plane_mcp.selftest.real.stage import END_SECONDS, Stage, open_stage
from codex_control_plane_mcp.selftest.real.strikes import Striker, schedule

#: Stages side by side.
LANES = 2
#: Each with a pipe of its own.
CLIENTS = 2
#: Operations that are followed side by side.
SLOTS = 8
#: After the last kill, until every operation has ended: seconds, on a busy machine more.
FINISH_SECONDS = 120.0
#: Notes that are kept; the rest is counted.
MAX_NOTES = 200


@dataclass(frozen=True, slots=True)
class RealResult:
    """How a run went. It is good when nothing is lost, doubled or wrong."""

    kills: int
    operations: int
    #: Acknowledged, and not there or never ended.
    lost: int
    #: Asked the model, or Codex, more than once.
    doubled: int
    #: Every other promise that was not kept.
    wrong: int
    seconds: float
    #: Every breach, with the operation, and how to repeat it; then what else is worth knowing.
    notes: tuple[str, ...]
    by_target: Mapping[str, int]
    by_moment: Mapping[str, int] = field(default_factory=dict)
    by_status: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


def run(kills: int, seed: int, on_progress: Callable[[int, int], None]) -> RealResult:
    """Kill so many times while the fleet works, and check every promise. `on_progress` is told how
    many kills of how many are done.

    A start of a worker keeps one core busy, so the kills are shared between two stages side by
    side: of seed N they are told by `tell` with the seeds 2N and 2N + 1.
    """
    results: list[RealResult] = []
    done = [0] * LANES

    async def lane(number: int) -> None:
        def progress(here: int, _: int) -> None:
            done[number] = here
            on_progress(sum(done), kills)

        share = kills // LANES + (number < kills % LANES)
        results.append((await _tell(share, seed * LANES + number, progress, {}, keep=True))[0])

    async def side_by_side() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(LANES):
                tasks.start_soon(lane, number)

    anyio.run(side_by_side)
    return _sum_of(results)


def tell(
    kills: int,
    seed: int,
    on_progress: Callable[[int, int], None],
    more_environ: Mapping[str, str] | None = None,
) -> tuple[RealResult, Evidence]:
    """On one stage, with the evidence. `more_environ` reaches every process of the run."""

    async def alone() -> tuple[RealResult, Evidence]:
        return await _tell(kills, seed, on_progress, more_environ or {}, keep=False)

    return anyio.run(alone)


async def _tell(
    kills: int,
    seed: int,
    on_progress: Callable[[int, int], None],
    more_environ: Mapping[str, str],
    *,
    keep: bool,
) -> tuple[RealResult, Evidence]:
    """`keep` leaves the folder of a run that was not good."""
    began = time.monotonic()
    async with open_stage(more_environ) as stage:
        clients = [Client(stage) for _ in range(CLIENTS)]
        fleet = Fleet(stage, clients, seed)
        striker = Striker(stage, fleet, clients)
        try:
            async with anyio.create_task_group() as tasks:
                for client in clients:
                    await tasks.start(client.run)
                with anyio.fail_after(FINISH_SECONDS):
                    await fleet.undisturbed()
                async with anyio.create_task_group() as slots:
                    for slot in range(SLOTS if kills else 0):
                        slots.start_soon(fleet.work, slot)
                    await striker.strike_all(
                        schedule(seed, kills), lambda done: on_progress(done, kills)
                    )
                    fleet.is_ending = True
                    slots.cancel_scope.deadline = anyio.current_time() + FINISH_SECONDS
                with anyio.move_on_after(FINISH_SECONDS) as patience:
                    await fleet.repeat_all()
                    await fleet.look_again()
                if patience.cancelled_caught:
                    fleet.unanswered.append("the last look at everything did not end in time")
                evidence = await gather(stage, fleet)
                await leave(clients)
                tasks.cancel_scope.cancel()
        finally:
            left = await _cleared(stage)
        evidence.left_running.extend(left)
        result = _result(evidence, striker, seed, kills, time.monotonic() - began)
        if keep and not result.is_good:
            stage.keep = True
            result = replace(result, notes=(*result.notes, f"its state and logs: {stage.root}"))
    return result, evidence


async def _cleared(stage: Stage) -> list[str]:
    with anyio.CancelScope(shield=True), anyio.move_on_after(4 * END_SECONDS):
        return await stage.clear()
    return ["clearing the stage took too long"]


def _result(
    evidence: Evidence, striker: Striker, seed: int, kills: int, seconds: float
) -> RealResult:
    breaches = check(evidence)
    notes = [f"{breach} (seed {seed}, {kills} kills)" for breach in breaches]
    return RealResult(
        kills=sum(striker.by_target.values()),
        operations=len(evidence.operations),
        lost=_count(breaches, Harm.LOST),
        doubled=_count(breaches, Harm.DOUBLED),
        wrong=_count(breaches, Harm.WRONG),
        seconds=seconds,
        notes=(*notes[:MAX_NOTES], *striker.slow),
        by_target=dict(striker.by_target),
        by_moment=dict(striker.by_moment),
        by_status=evidence.by_status,
    )


def _count(breaches: list[Breach], harm: Harm) -> int:
    return sum(breach.harm is harm for breach in breaches)


def _sum_of(results: list[RealResult]) -> RealResult:
    def total(counts: Callable[[RealResult], Mapping[str, int]]) -> dict[str, int]:
        return dict(sum((Counter(counts(one)) for one in results), Counter[str]()))

    return RealResult(
        kills=sum(one.kills for one in results),
        operations=sum(one.operations for one in results),
        lost=sum(one.lost for one in results),
        doubled=sum(one.doubled for one in results),
        wrong=sum(one.wrong for one in results),
        seconds=max(one.seconds for one in results),
        notes=tuple(note for one in results for note in one.notes),
        by_target=total(lambda one: one.by_target),
        by_moment=total(lambda one: one.by_moment),
        by_status=total(lambda one: one.by_status),
    )
