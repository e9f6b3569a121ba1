"""What every test may ask for: the event loop that it runs on, and a real PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

if os.name == "posix":
    from tests.postgres import Postgres, postgres


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
