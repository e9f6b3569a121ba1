"""Recorded lives: one under the store's own settings, one under weaker ones."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.power import life
from tests.power.contents import Contents
from tests.power.recording import Event, NoStrace, read_record, record


@dataclass(frozen=True)
class Recording:
    """What a life did, as the kernel saw it."""

    events: Sequence[Event]
    snapshots: Sequence[Contents]
    #: The name of the log's index, and what it once held.
    stale_index: tuple[str, bytes]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recording]:
    """Records a life with this setting of `synchronous`, or skips; in CI it never skips."""

    def record_life(synchronous: str) -> Recording:
        folder = tmp_path_factory.mktemp(f"life-{synchronous}").resolve()
        trace = folder / "trace"
        command = [sys.executable, "-m", "tests.power.life", str(folder), synchronous]
        try:
            record(command, trace, Path(__file__).parents[2])
        except NoStrace as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        lines = (folder / life.SNAPSHOTS).read_text(encoding="utf-8").splitlines()
        recording = Recording(
            events=list(read_record(trace, folder, life.STATE_FILE, life.MARKS)),
            snapshots=[json.loads(line) for line in lines],
            stale_index=(f"{life.STATE_FILE}-shm", (folder / life.STALE_INDEX).read_bytes()),
        )
        shutil.rmtree(folder)
        return recording

    return record_life


@pytest.fixture(scope="module")
def as_it_is(recorded: Callable[[str], Recording]) -> Recording:
    return recorded("FULL")


@pytest.fixture
def after_power_loss() -> Iterator[Path]:
    """A folder for what is left. In memory where that can be had: the loss was simulated, and the
    real disk has no part in it any more."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="ccp-power-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
