"""The workshop: takes over what was left, takes what may start, and drives it all.

It wakes when the book changes and does nothing else in between.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.abc

from codex_control_plane_mcp import correlation, tracing
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import AppServerId, Generation, OperationId
from codex_control_plane_mcp.model.operation import ACTIVE, Operation
from codex_control_plane_mcp.model.schedule import YIELD_SECONDS, Limits, Reach
from codex_control_plane_mcp.store import lookup, operations, queue
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book, Reading, Writing
from codex_control_plane_mcp.store.operations import Fenced, Replaced
from codex_control_plane_mcp.store.queue import Outlook
from codex_control_plane_mcp.work.case import Case
from codex_control_plane_mcp.work.driver import Driver, Tools
from codex_control_plane_mcp.work.line import Connect, Line
from codex_control_plane_mcp.work.spool import forget_others

logger = logging.getLogger(__name__)

#: After something that should not happen, an operation is taken up again after this long; and so
#: often what was left to another host is looked at again.
TAKE_UP_AGAIN_SECONDS: Final = float(YIELD_SECONDS)


@dataclass(frozen=True, slots=True)
class Rules:
    """How the workshop is to work."""

    limits: Limits
    #: Where git worktrees are kept.
    worktrees: Path
    #: Where is kept what Codex says while the book does not answer.
    spool: Path
    #: After so long without an answer Codex is told "no"; None waits for ever.
    approval_seconds: float | None = None
    #: What this host can run, where there are others; None: everything.
    reach: Callable[[Reading], Reach] | None = None
    #: Whether anything new may be started now.
    may_start: Callable[[], bool] = lambda: True


class Workshop:
    """Drives operations as the worker of one generation."""

    def __init__(
        self,
        book: Book,
        connect: Connect,
        generation: Generation,
        rules: Rules,
        is_gone: Callable[[AppServerId], bool],
    ) -> None:
        self.line = Line(connect)
        self._book = book
        self._generation = generation
        self._rules = rules
        self._tools = Tools(
            book, self.line, is_gone, rules.worktrees, rules.spool, rules.approval_seconds
        )
        #: Who is at work on an operation is stopped by its scope.
        self._driven: dict[OperationId, anyio.CancelScope] = {}
        #: Set while it works.
        self._tasks: anyio.abc.TaskGroup | None = None
        #: Whether anything waited in the queue when it was last looked at.
        self.has_queue = False
        #: Whether a claim failed of which nobody knows what became: the line to the book broke.
        self._in_doubt = False

    @property
    def generation(self) -> Generation:
        return self._generation

    @property
    def active(self) -> int:
        """How many operations are being driven."""
        return len(self._driven)

    async def run(self) -> None:
        """Work until cancelled. Raises Fenced when another worker owns the book now."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self.line.run)
            adopted = await self._book.write(
                lambda writing: operations.adopt(writing, self._generation)
            )
            forget_others(self._rules.spool, {operation.id for operation in adopted})
            for operation in adopted:
                self._take_up(tasks, operation)
            with self._book.bell.listening(about=Subject.QUEUE) as change:
                while True:
                    # What could not be looked at may never ring again.
                    again = math.inf if await self._start_what_may(tasks) else TAKE_UP_AGAIN_SECONDS
                    with anyio.move_on_after(again):
                        await change.wait()

    async def _start_what_may(self, tasks: anyio.abc.TaskGroup) -> bool:
        """Start what the limits allow; False when it has to be looked at again."""
        if not self._rules.may_start():
            return False
        try:
            await self._settle_doubt(tasks)
            seen = await self._book.read(self._look)
            self.has_queue = seen.has_any
            for operation in seen.unwanted:
                await self._end_in_queue(operation)
            if not seen.startable:
                return not seen.may_be_left
            self._in_doubt = True
            started = await self._book.write(lambda writing: self._claim(writing, seen), pen=False)
            self._in_doubt = False
        except StateBusy as error:
            logger.warning("the queue waits: %s", error)
            return False
        for operation in started:
            self._take_up(tasks, operation)
        return not seen.may_be_left

    async def _settle_doubt(self, tasks: anyio.abc.TaskGroup) -> None:
        """Take up what was claimed, where the line broke before we were told so."""
        if not self._in_doubt:
            return
        for operation in await self._book.read(
            lambda reading: lookup.owned(reading, self._generation)
        ):
            if operation.id not in self._driven:
                self._take_up(tasks, operation)
        self._in_doubt = False

    async def _end_in_queue(self, operation: Operation) -> None:
        try:
            await Case(operation, self._book).end_in_queue(self._generation)
        except Replaced:
            raise
        except Fenced:
            logger.info("operation %s was another host's in the meantime", operation.id)

    def _look(self, reading: Reading) -> Outlook:
        rules = self._rules
        return queue.look(reading, self._book.host, rules.limits, self._book.now(), rules.reach)

    def _claim(self, writing: Writing, seen: Outlook) -> list[Operation]:
        rules = self._rules
        return queue.claim(writing, self._generation, rules.limits, rules.reach, seen)

    async def _read(self, operation_id: OperationId) -> Operation | None:
        return await self._book.read(lambda connection: lookup.get(connection, operation_id))

    def drives(self, operation_id: OperationId) -> bool:
        """Whether somebody is at work on it."""
        return operation_id in self._driven

    async def recover(self) -> list[OperationId]:
        """Take up whatever is unfinished, not in the queue, and in nobody's hands."""
        tasks = self._tasks
        if tasks is None:
            return []
        await self._book.write(lambda writing: operations.adopt(writing, self._generation))
        left = [
            one
            for one in await self._book.read(lookup.unfinished)
            if one.status in ACTIVE and not self.drives(one.id)
        ]
        for operation in left:
            self._take_up(tasks, operation)
        return [operation.id for operation in left]

    def let_go(self, operation_id: OperationId) -> None:
        """Stop whoever is at work on an operation. It must have ended on record, or it is left as
        if the worker had been killed."""
        if operation_id in self._driven:
            self._driven[operation_id].cancel()

    def _take_up(self, tasks: anyio.abc.TaskGroup, operation: Operation) -> None:
        if operation.id in self._driven:
            return  # Taken from the queue and recovered at the same moment.
        self._driven[operation.id] = anyio.CancelScope()
        tasks.start_soon(self._drive, operation, name=f"drive {operation.id}")

    async def _drive(self, operation: Operation) -> None:
        """Drive one operation; whatever goes wrong with it must not touch the others."""
        try:
            with (
                self._driven[operation.id],
                correlation.working_for(operationId=operation.id),
                _span_of(operation) as span,
            ):
                ended = await self._drive_to_its_end(operation)
                if ended is not None:
                    span.tell("codex.operation.status", ended.status)
                    if ended.trouble is not None:
                        span.fail(ended.trouble.code)
        finally:
            self._driven.pop(operation.id, None)

    async def _drive_to_its_end(self, operation: Operation) -> Operation | None:
        """As it is then; it may be another worker's by then."""
        present: Operation | None = operation
        while present is not None and not present.is_final:
            try:
                await Driver(present, self._tools).run()
            except Fenced:
                logger.warning("operation %s is not as this worker left it", operation.id)
            except StateBusy as error:
                # Nobody listens now, so its thread is read for what Codex says meanwhile.
                logger.warning("operation %s waits for the book: %s", operation.id, error)
                await anyio.sleep(TAKE_UP_AGAIN_SECONDS)
            except Exception:
                # A border: our own mistake or a full disk. The operation is not lost, it is
                # taken up from what is on record.
                logger.exception("driving operation %s went wrong", operation.id)
                await anyio.sleep(TAKE_UP_AGAIN_SECONDS)
            present = await self._read_again(operation.id)
            if present is not None and present.generation != self._generation:
                break  # Another worker has it.
        return present

    async def _read_again(self, operation_id: OperationId) -> Operation | None:
        while True:
            try:
                return await self._read(operation_id)
            except StateBusy as error:
                logger.warning("operation %s waits: %s", operation_id, error)
                await anyio.sleep(TAKE_UP_AGAIN_SECONDS)


def _span_of(operation: Operation) -> tracing.Span:
    kind = operation.request.type.value
    return tracing.span_of_operation(
        operation.id,
        f"operation {kind}",
        {
            "codex.operation.id": operation.id,
            "codex.operation.kind": kind,
            "codex.project.id": operation.request.project_id,
        },
    )
