"""Tells the book that its worker lives, from a thread that a busy event loop cannot starve."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import Generation
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.book import Book

logger = logging.getLogger(__name__)

#: While turns run, so often.
HEARTBEAT_SECONDS = 10.0


@contextmanager
def beating(
    book: Book,
    generation: Generation,
    is_driving: Callable[[], bool],
    every_seconds: float = HEARTBEAT_SECONDS,
) -> Iterator[None]:
    """Beat while something is really being driven: a worker that drives nothing stays silent."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every_seconds):
            if is_driving():
                try:
                    book.write_now(lambda writing: workers.beat(writing, generation), pen=False)
                except StateBusy as error:
                    logger.warning("a heartbeat could not be written: %s", error)

    thread = threading.Thread(target=beat, name="heart", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
