"""The same book over SQLite and over PostgreSQL: a test that asks for `desk` runs over both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.store.actors import Desk
from tests.store.actors import desk as desk_at

settings.register_profile("without deadline", settings(), deadline=None)
settings.load_profile("without deadline")


@pytest.fixture
def desk(where: Path | str) -> Iterator[Desk]:
    with desk_at(where) as desk:
        yield desk


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


@pytest.fixture
def sqlite_desk(sqlite_path: Path) -> Iterator[Desk]:
    with desk_at(sqlite_path) as desk:
        yield desk
