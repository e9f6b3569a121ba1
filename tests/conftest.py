"""What every test may ask for: the event loop that it runs on, and where there is a book."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

if os.name == "posix":
    from tests.postgres import Postgres, emptied, postgres

#: What a book may be kept in.
BOOKS = ("sqlite", "postgres")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_report_to_serializable(
    report: pytest.CollectReport | pytest.TestReport,
) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
    """What a test logged may hold half a character, which cannot be sent to the process that
    collects the reports."""
    sent = yield
    if sent is not None and "sections" in sent:
        sent["sections"] = [
            (name, text.encode("utf-8", "backslashreplace").decode())
            for name, text in sent["sections"]
        ]
    return sent


@pytest.fixture
def anyio_backend() -> str:
    """asyncio, unless a test says otherwise (virtual time needs trio)."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run, started by the first test that asks for it."""
    if os.name != "posix":
        pytest.skip("the PostgreSQL of the tests listens on a unix socket")
    with postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """A fresh, empty database of the test's own, as a URL for SQLAlchemy."""
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


@pytest.fixture
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where there is an empty book, over each of both or over the one that `--book` names: a path,
    or the URL of a PostgreSQL database."""
    return _empty_book(request, tmp_path)


@pytest.fixture
def book_at(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where there is an empty book: over which, says `--book` (see `pytest_generate_tests`)."""
    return _empty_book(request, tmp_path)


@pytest.fixture
def in_a_file(request: pytest.FixtureRequest) -> None:
    """Skips a test that looks at the file itself where the book is kept in none."""
    if request.config.getoption("--book") == "postgres":
        pytest.skip("looks at the file that a book of PostgreSQL is not")


def _empty_book(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if getattr(request, "param", "sqlite") == "sqlite":
        return tmp_path / "state.sqlite3"
    request.getfixturevalue("where_postgres_runs")
    server: Postgres = request.getfixturevalue("postgres_server")
    # One for all who want an empty one: making it takes longer than most tests.
    return emptied(server.book())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--book",
        choices=BOOKS,
        help="what the tests of the store, the work, the desk and the selftest keep their book "
        "in: one of both for all of them; by default SQLite, and for those of the store and "
        "what is marked `over_both`, PostgreSQL too",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = metafunc.config.getoption("--book")
    marks = metafunc.definition.iter_markers("parametrize")
    said = {mark.args[0] for mark in marks}
    for name in ("where", "book_at"):
        if name not in metafunc.fixturenames or name in said:
            continue
        if chosen is not None:
            metafunc.parametrize(name, [chosen], indirect=True)
        elif name == "where" or metafunc.definition.get_closest_marker("over_both"):
            metafunc.parametrize(name, BOOKS, indirect=True)
