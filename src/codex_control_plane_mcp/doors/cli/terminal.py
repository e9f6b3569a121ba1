"""How the commands write to a terminal: width, colours, and the question to a person."""

import io
import os
import sys
import threading
from contextlib import suppress
from typing import TextIO

import anyio
import anyio.from_thread
import anyio.lowlevel
from rich.console import Console

#: Longer lines are hard to read, however wide the window is.
WIDEST = 100
#: A pipe or a file has no width: tables are not folded there.
WIDTH_OF_NO_TERMINAL = 300


def console_on(stream: TextIO, widest: int | None = WIDEST) -> Console:
    """A console on `stream`; colours only where it is a terminal that wants them."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a narrow encoding shall not end the program
    console = Console(file=stream, highlight=False)
    width = console.width if console.is_terminal else WIDTH_OF_NO_TERMINAL
    console.width = width if widest is None else min(width, widest)
    return console


def page_on(stream: TextIO, widest: int = WIDEST) -> Console:
    """A console for what may be searched and cut: in a pipe its lines are as long as they are."""
    console = console_on(stream, widest=None)
    console.width = min(console.width, widest) if console.is_terminal else WIDTH_OF_NO_TERMINAL
    return console


def somebody_is_there() -> bool:
    """Whether a person at a terminal can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


async def typed_line() -> str | None:
    """The next line that the person types; None at the end of the input.

    It may be cancelled: the thread that reads is left behind, and does not keep the program alive.
    It reads the descriptor itself, since Python cannot end while a thread is within `sys.stdin`.
    """
    token = anyio.lowlevel.current_token()
    typed = anyio.Event()
    lines: list[bytes] = []

    def read() -> None:
        try:
            lines.append(os.read(sys.stdin.fileno(), 4096))
        except OSError:
            lines.append(b"")
        # Perhaps nobody waits any more.
        with suppress(RuntimeError, anyio.RunFinishedError):
            anyio.from_thread.run_sync(typed.set, token=token)

    threading.Thread(target=read, daemon=True, name="terminal").start()
    await typed.wait()
    return lines[0].decode(errors="replace").strip() if lines[0] else None
