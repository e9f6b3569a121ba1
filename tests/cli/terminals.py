"""A person at a terminal: reads the screen, types, and presses Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from tests.cli.commands import PATIENCE

needs_a_terminal = pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")


class Person:
    """Sits at the terminal of a running command."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self._process = process
        self._terminal = terminal
        #: Everything so far, without colours.
        self.screen = ""
        self._read_up_to = 0

    def reads(self, text: str) -> None:
        """Wait until `text` is on the screen, below what was read before."""
        give_up_at = time.monotonic() + PATIENCE
        while (found := self.screen.find(text, self._read_up_to)) < 0:
            ready, _, _ = select.select([self._terminal], [], [], give_up_at - time.monotonic())
            assert ready, f"no {text!r} on the screen:\n{self.screen}"
            assert self._reads_on(), f"it ended without {text!r}:\n{self.screen}"
        self._read_up_to = found + len(text)

    def types(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def signals(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self) -> int:
        while self._reads_on():
            pass
        return self._process.wait(PATIENCE)

    def _reads_on(self) -> bool:
        try:
            said = os.read(self._terminal, 65536)
        except OSError:  # how Linux says that nobody holds the other end
            return False
        self.screen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode(errors="replace"))
        return bool(said)


@contextmanager
def at_a_terminal(argv: Sequence[str], env: Mapping[str, str]) -> Iterator[Person]:
    """A command that runs at a terminal of its own."""
    if sys.platform == "win32":
        raise NotImplementedError
    ours, theirs = os.openpty()
    with subprocess.Popen(
        argv,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=env,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield Person(process, ours)
        finally:
            os.close(ours)
            if process.poll() is None:
                process.kill()
