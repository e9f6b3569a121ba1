"""The heartbeat comes from a thread of its own."""

import threading
from pathlib import Path

from codex_control_plane_mcp.app.heart import beating
from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.book import opened


class CountingClock:
    """A moment later each time it is asked; says when it was asked often enough."""

    def __init__(self) -> None:
        self.now_at = 0
        self.was_asked = threading.Semaphore(0)

    def now(self) -> Moment:
        self.now_at += 1
        self.was_asked.release()
        return Moment(self.now_at)


def test_it_beats_while_the_main_thread_is_too_busy_to_look_up(tmp_path: Path) -> None:
    clock = CountingClock()
    with opened(tmp_path / "state.sqlite3", clock=clock) as book:
        generation, _ = book.write_now(lambda writing: workers.enter(writing, "w", 1, "0"))
        entered = book.read_now(workers.latest)
        with beating(book, generation, lambda: True, every_seconds=0.001):
            # No event loop turns here, and none is needed.
            for _ in range(5):
                assert clock.was_asked.acquire(timeout=10)
        latest = book.read_now(workers.latest)
    assert entered is not None
    assert latest is not None
    assert latest.heartbeat_at > entered.heartbeat_at


def test_a_worker_that_drives_nothing_is_silent(tmp_path: Path) -> None:
    asked = threading.Event()

    def is_driving() -> bool:
        asked.set()
        return False

    with opened(tmp_path / "state.sqlite3") as book:
        generation, _ = book.write_now(lambda writing: workers.enter(writing, "w", 1, "0"))
        before = book.read_now(workers.latest)
        with beating(book, generation, is_driving, every_seconds=0.001):
            assert asked.wait(timeout=10)
        assert book.read_now(workers.latest) == before
