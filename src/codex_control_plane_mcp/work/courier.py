"""Delivers the outbox: each notice at least once, under one id, until its receiver has it.

What is sent is marked afterwards. A worker that is killed in between has the next one send it
again; the receiver knows it by its id.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

import anyio

from codex_control_plane_mcp.clock import Moment, later, seconds_between
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.notice import Notice, is_dead, pause_seconds
from codex_control_plane_mcp.store import notices
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.notices import Delivery, ReceiverName

logger = logging.getLogger(__name__)

#: So many of different operations are sent to one receiver at once.
AT_ONCE = 8
#: The outbox is looked at this often though nothing was put in: somebody else may have replayed
#: one, or set the clock.
LOOK_SECONDS = 300.0


class NotTaken(Exception):
    """The receiver does not have the notice; the message says why, without a secret."""


#: Hands a notice to a receiver, within a bounded time. Raises NotTaken.
Receiver: TypeAlias = Callable[[Notice], Awaitable[None]]


class Courier:
    def __init__(
        self,
        book: Book,
        receivers: Mapping[ReceiverName, Receiver],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._book = book
        self._receivers = receivers
        self._chance = chance
        #: How many notices were left for each when the outbox was last looked at.
        self._waiting: dict[ReceiverName, int] = {}

    @property
    def waiting(self) -> int:
        """How many are still to be delivered."""
        return sum(self._waiting.values())

    async def run(self) -> None:
        """Deliver until cancelled. Without receivers there is nothing to do."""
        async with anyio.create_task_group() as tasks:
            for name, receiver in self._receivers.items():
                tasks.start_soon(self._serve, name, receiver)

    async def _serve(self, name: ReceiverName, receiver: Receiver) -> None:
        with self._book.bell.listening(about=Subject.NOTICE) as change:
            while True:
                pause = LOOK_SECONDS
                try:
                    pause = await self._round(name, receiver)
                except* StateBusy:
                    logger.warning("notices wait: the state is busy")
                with anyio.move_on_after(pause):
                    await change.wait()

    async def _round(self, name: ReceiverName, receiver: Receiver) -> float:
        """Send what is due; in how many seconds there may be more."""
        heads = await self._book.read(
            partial(notices.heads, receiver=name, limit=AT_ONCE, host=self._book.host)
        )
        now = self._book.now()
        due = [head for head in heads if head.due_at <= now]
        async with anyio.create_task_group() as tasks:
            for delivery in due:
                tasks.start_soon(self._deliver, delivery, receiver)
        self._waiting[name] = await self._book.read(
            partial(notices.waiting_count, receiver=name, host=self._book.host)
        )
        if due:
            return 0
        return min([LOOK_SECONDS, *(seconds_between(now, head.due_at) for head in heads)])

    async def _deliver(self, delivery: Delivery, receiver: Receiver) -> None:
        try:
            await receiver(delivery.notice)
        except NotTaken as error:
            trouble = str(error)
        except Exception as error:
            # A border: our own mistake with one notice must not keep the others.
            logger.exception("sending notice %s went wrong", delivery.notice.id)
            trouble = f"sending it went wrong ({type(error).__name__})"
        else:
            await self._book.write(lambda writing: notices.delivered(writing, delivery))
            return
        again = self._again_at(delivery)
        logger.warning(
            "the %s did not take notice %s, attempt %d%s: %s",
            delivery.receiver,
            delivery.notice.id,
            delivery.attempts + 1,
            " and the last" if again is None else "",
            trouble,
        )
        await self._book.write(lambda writing: notices.missed(writing, delivery, trouble, again))

    def _again_at(self, delivery: Delivery) -> Moment | None:
        """When to try again after one more attempt in vain; None: never."""
        attempts, now = delivery.attempts + 1, self._book.now()
        if is_dead(attempts, seconds_between(delivery.created_at, now)):
            return None
        return later(now, pause_seconds(attempts, self._chance()))
