"""The workshop: takes over what was left, takes what may start, and drives it all.

It wakes when the book changes and does nothing else in between.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import anyio.abc

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import AppServerId, Generation, OperationId
from codex_control_plane_mcp.model.operation import Cancelled, Operation
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import operations, wishes
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.store.wishes import WishKind
from codex_control_plane_mcp.work.case import Case
from codex_control_plane_mcp.work.driver import Driver, Tools
from codex_control_plane_mcp.work.line import Connect, Line

logger = logging.getLogger(__name__)

#: After something that should not happen, an operation is taken up again after this long.
TAKE_UP_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How the workshop is to work."""

    limits: Limits
    #: After so long without an answer Codex is told "no"; None waits for ever.
    approval_seconds: float | None = None


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
        self._tools = Tools(book, self.line, is_gone, rules.approval_seconds)
        self._driven: set[OperationId] = set()
        #: How many operations waited in the queue when it was last looked at.
        self.queued = 0

    @property
    def active(self) -> int:
        """How many operations are being driven."""
        return len(self._driven)

    async def run(self) -> None:
        """Work until cancelled. Raises Fenced when another worker owns the book now."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.line.run)
            for operation in await self._book.write(
                lambda writing: operations.adopt(writing, self._generation)
            ):
                self._take_up(tasks, operation)
            with self._book.bell.listening() as change:
                while True:
                    await self._start_what_may(tasks)
                    await change.wait()

    async def _start_what_may(self, tasks: anyio.abc.TaskGroup) -> None:
        try:
            queue = await self._book.read(operations.queued_jobs)
            self.queued = len(queue)
            if not queue:
                return
            await self._cancel_queued({job.id for job in queue})
            verdict = await self._book.write(
                lambda writing: operations.claim(writing, self._generation, self._rules.limits)
            )
            started = await self._book.read(
                lambda connection: operations.many(connection, verdict.start)
            )
        except StateBusy as error:
            logger.warning("the queue waits: %s", error)
            return
        self.queued = len(verdict.waiting)
        for operation in started:
            self._take_up(tasks, operation)

    async def _cancel_queued(self, queued: set[OperationId]) -> None:
        for wish in await self._book.read(wishes.open_wishes):
            if wish.kind is WishKind.CANCEL and wish.operation_id in queued:
                operation = await self._read(wish.operation_id)
                if operation is not None:
                    await Case(operation, self._book).end(Cancelled())

    async def _read(self, operation_id: OperationId) -> Operation | None:
        return await self._book.read(lambda connection: operations.get(connection, operation_id))

    def _take_up(self, tasks: anyio.abc.TaskGroup, operation: Operation) -> None:
        self._driven.add(operation.id)
        tasks.start_soon(self._drive, operation, name=f"drive {operation.id}")

    async def _drive(self, operation: Operation) -> None:
        """Drive one operation; whatever goes wrong with it must not touch the others."""
        try:
            present: Operation | None = operation
            while present is not None and not present.is_final:
                try:
                    await Driver(present, self._tools).run()
                except Fenced:
                    logger.warning("operation %s is not as this worker left it", operation.id)
                except Exception:
                    # A border: our own mistake or a full disk. The operation is not lost, it is
                    # taken up from what is on record.
                    logger.exception("driving operation %s went wrong", operation.id)
                    await anyio.sleep(TAKE_UP_AGAIN_SECONDS)
                present = await self._read_again(operation.id)
                if present is not None and present.generation != self._generation:
                    return  # Another worker has it.
        finally:
            self._driven.discard(operation.id)

    async def _read_again(self, operation_id: OperationId) -> Operation | None:
        while True:
            try:
                return await self._read(operation_id)
            except StateBusy as error:
                logger.warning("operation %s waits: %s", operation_id, error)
                await anyio.sleep(TAKE_UP_AGAIN_SECONDS)
