"""A person at the terminal of a program that draws on the whole screen: looks, and types."""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pyte
import pytest

if sys.platform == "win32":
    pytest.skip("no pseudo-terminals on Windows", allow_module_level=True)

import termios

ROWS, COLUMNS = 40, 110


class Terminal:
    """What is on the screen now, and the keys."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).strip()

    async def shows(self, *texts: str) -> None:
        """Wait until all of this is on the screen."""
        try:
            with anyio.fail_after(60):
                while not all(text in self.text for text in texts):
                    await self._look()
        except TimeoutError:
            raise AssertionError(f"no {texts} on the screen:\n{self.text}") from None

    async def types(self, text: str) -> None:
        await anyio.wait_writable(self._descriptor)
        os.write(self._descriptor, text.encode())

    async def _look(self) -> None:
        await anyio.wait_readable(self._descriptor)
        self._stream.feed(os.read(self._descriptor, 65536))


@asynccontextmanager
async def at_a_terminal(
    line: Sequence[str], env: Mapping[str, str], cwd: Path
) -> AsyncIterator[Terminal]:
    """A program that runs at a terminal of its own, until this ends."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    kept = {**env, "TERM": "xterm-256color"}
    async with await anyio.open_process(
        line, stdin=theirs, stdout=theirs, stderr=theirs, env=kept, cwd=cwd, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            yield Terminal(ours)
        finally:
            process.terminate()
            os.close(ours)
