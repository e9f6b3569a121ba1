"""An event loop whose time passes only while nobody has anything to do, and then at once.

A day of waiting costs nothing, and the same program takes the same steps each time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


class StandStill(Exception):
    """Everybody waits for somebody else: the program would wait for ever."""


class _Selector(selectors.DefaultSelector):
    """Never sleeps: it says how long it would have slept."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: Callable[[float], None] = lambda _: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise StandStill("every task waits, and no timer runs")
            self.passed(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        selector = _Selector()
        selector.passed = self._pass
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _pass(self, seconds: float) -> None:
        # A little more than asked for, or rounding could keep a timer from ever being due.
        self._now += seconds + 1e-6 if seconds > 0 else 0.0


def run(program: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
    """Run an async program to its end on virtual time."""
    return anyio.run(program, *args, backend_options={"loop_factory": VirtualLoop})
