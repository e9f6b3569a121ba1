"""A state of the test's own, a worker that the test plays, and a client with a pipe to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipe.actors import Client, FakeWorker, StandIns, pipe_client


@pytest.fixture
def state_db(tmp_path: Path) -> str:
    return str(tmp_path / "state.sqlite3")


@pytest.fixture
def worker(state_db: str) -> Iterator[FakeWorker]:
    with FakeWorker(state_db) as worker:
        yield worker


@pytest.fixture
def client(state_db: str, worker: FakeWorker) -> Iterator[Client]:
    with pipe_client(state_db) as client:
        yield client


@pytest.fixture
def stand_ins(state_db: str) -> Iterator[StandIns]:
    stand_ins = StandIns(state_db)
    yield stand_ins
    stand_ins.kill_all()
