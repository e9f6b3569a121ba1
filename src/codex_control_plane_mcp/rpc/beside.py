"""Run a task beside a block of code and end it with the block."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def beside(task: Callable[[], Coroutine[None, None, object]]) -> AsyncIterator[None]:
    """A task group of one, out of which the block's own error comes as it is.

    A plain task group would wrap it in an exception group, and `except ThreadNotFound` around an
    `async with` would never match.
    """
    failed: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group
            failed = error
        finally:
            tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
