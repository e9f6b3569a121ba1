"""The same book over SQLite and over PostgreSQL: a test that asks for `desk` runs over both."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.store.actors import Desk
from tests.store.actors import desk as desk_at

if os.name == "posix":
    from tests.postgres import Postgres

settings.register_profile("without deadline", settings(), deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(scope="session")
def postgres_book(postgres_server: "Postgres") -> Iterator[str]:
    """One book for all who want an empty one: making it takes longer than most tests."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def where_postgres_runs(request: pytest.FixtureRequest) -> None:
    """Skips a test where no PostgreSQL can be started, but never in CI."""
    try:
        request.getfixturevalue("postgres_server")
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"there is no PostgreSQL on this machine: {error}")


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where there is an empty book: a path, or the URL of a PostgreSQL database."""
    if request.param == "sqlite":
        return tmp_path / "state.sqlite3"
    request.getfixturevalue("where_postgres_runs")
    url: str = request.getfixturevalue("postgres_book")
    with desk_at(url) as sweeper:
        for table in ("journal", "wishes", "interactions", "operations", "workers"):
            sweeper.sql(f"DELETE FROM {table}")  # noqa: S608
    return url


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
