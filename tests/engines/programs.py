"""The programs of the recipes, started as a person starts them."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

import anyio
import psutil

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "recipes"
CUT = Path(__file__).with_name("cut.py")
#: The environment that `make test-engines` makes beside ours.
COMMANDS = Path(sys.prefix, "engines", "bin")
PYTHON = COMMANDS / "python"
#: Engines take their time to start, to notice a death, and to try again.
PATIENCE_SECONDS = 240.0


@dataclass
class Program:
    """A program that runs, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    async def says(self, text: str) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while text not in self.said:
                assert self.process.poll() is None, self.said
                await anyio.sleep(0.05)

    async def ended(self) -> int:
        with anyio.fail_after(PATIENCE_SECONDS):
            while (code := self.process.poll()) is None:  # noqa: ASYNC110  # no word of its end
                await anyio.sleep(0.05)
        return code

    def kill_children(self) -> None:
        """kill -9 of what it has started, not of itself."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()


@dataclass
class Programs:
    """Starts programs in one environment, in the project's folder."""

    folder: Path
    environ: dict[str, str]
    cwd: Path
    started: list[Program] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=count)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, folder: Path, environ: Mapping[str, str], cwd: Path
    ) -> AsyncIterator[Self]:
        assert PYTHON.exists(), "run `make test-engines`"
        folder.mkdir()
        programs = cls(folder, dict(environ), cwd)
        try:
            yield programs
        finally:
            for program in reversed(programs.started):
                _end(program.process)

    def start(self, *line: object) -> Program:
        log = self.folder / f"{next(self.numbers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in line],
                env=self.environ,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # What it starts ends with it.
                start_new_session=True,
            )
        program = Program(process, log)
        self.started.append(program)
        return program

    def python(self, recipe: str, *words: object) -> Program:
        return self.start(PYTHON, RECIPES / recipe, *words)

    def cut(self) -> None:
        """Kill who submits next, before it hears the answer."""
        Path(self.environ["ENGINES_CUTS"], "one").touch()


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
