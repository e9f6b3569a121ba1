"""Mends what somebody wants mended, one thing after the other.

A run is on record before anything is done, and so is what came of it. The same plan is shown by a
dry run and applied by a real one. A run that a worker did not bring to its end is never repeated:
what it did is to be seen from a dry run.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from codex_control_plane_mcp import correlation
from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.errors import ControlPlaneError, StateBusy
from codex_control_plane_mcp.model.repair import MOST_RUNS, Outcome, RepairRun, goes_round
from codex_control_plane_mcp.store import repairs
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.work.mends import Means, Plan, plan

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: More are not listed in a run; its result says how many there were.
CHANGES_KEPT = 100
#: What could not be looked at is looked at again.
LOOK_AGAIN_SECONDS = 5.0
_OTHERWISE = "meanwhile it would change something else than the dry run said: look at it again"
_CUT_OFF = "the worker ended while it was being done: a dry run shows what is left to do"


class Repairs:
    """The repairs of one open house."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._book = means.book

    async def run(self) -> None:
        """Carry out what is wished, until cancelled."""
        await self._persistently(lambda: self._book.write(_close_what_was_cut_off))
        with self._book.bell.listening(about=Subject.REPAIR) as change:
            while True:
                for wished in await self._persistently(self._open_runs):
                    await self._carry_out(wished)
                await change.wait()

    async def _open_runs(self) -> list[RepairRun]:
        return await self._book.read(lambda reading: repairs.open_runs(reading, self._book.host))

    async def _carry_out(self, run: RepairRun) -> None:
        with correlation.working_for(repairRunId=run.id):
            planned = Plan()
            try:
                planned = await self._planned(run)
                outcome, result = await self._done(run, planned)
            except (CodexError, ControlPlaneError, OSError) as error:
                outcome, result = Outcome.FAILED, str(error)
            except Exception as error:
                # A border: a repair that goes wrong must not stop the next one.
                logger.exception("repair %s went wrong", run.action)
                outcome, result = Outcome.FAILED, f"{type(error).__name__}: {error}"
            logger.info("repair %s: %s (%s)", run.action, outcome, result)
            changes = planned.changes[:CHANGES_KEPT]
            # However long that takes: it must not be done once more.
            await self._persistently(
                lambda: self._book.write(
                    lambda writing: repairs.conclude(writing, run.id, outcome, changes, result)
                )
            )

    async def _planned(self, run: RepairRun) -> Plan:
        planned = await plan(self._means, run)
        if planned.refusal is not None or not planned.changes:
            return planned
        if not await self._is_what_was_read(run, planned):
            return _refused(planned, _OTHERWISE)
        earlier = await self._book.read(
            lambda reading: repairs.done_before(reading, run, MOST_RUNS)
        )
        why = goes_round(earlier, self._book.now())
        return planned if why is None else _refused(planned, why)

    async def _is_what_was_read(self, run: RepairRun, planned: Plan) -> bool:
        """Whether it changes just what the dry run said that somebody had carried out."""
        plan_id = run.plan_id
        if plan_id is None:
            return True
        read = await self._book.read(lambda reading: repairs.get(reading, plan_id))
        return read is not None and read.changes == planned.changes[:CHANGES_KEPT]

    async def _done(self, run: RepairRun, planned: Plan) -> tuple[Outcome, str]:
        if planned.refusal is not None:
            return Outcome.REFUSED, planned.refusal
        if not planned.changes:
            return Outcome.NOTHING_TO_DO, planned.note or "there is nothing to change"
        if run.dry_run:
            return Outcome.PLANNED, planned.note or "nothing stands against it"
        return Outcome.APPLIED, await planned.act()

    async def _persistently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do something with the book as soon as it answers."""
        while True:
            try:
                return await call()
            except StateBusy as error:
                logger.warning("repairs wait: %s", error)
                await anyio.sleep(LOOK_AGAIN_SECONDS)


def _refused(planned: Plan, why: str) -> Plan:
    return Plan(changes=planned.changes, note=planned.note, refusal=why)


def _close_what_was_cut_off(writing: Writing) -> None:
    for run in repairs.open_runs(writing.connection, writing.host):
        repairs.conclude(writing, run.id, Outcome.UNKNOWN, (), _CUT_OFF)
