"""The desk's tests run on virtual time: a wait of 45 seconds takes none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from tests.desk.reception import Reception, reception


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def at(tmp_path: Path, book_at: Path | str) -> Iterator[Reception]:
    url = book_at if isinstance(book_at, str) else None
    with reception(tmp_path, postgres_url=url) as opened:
        yield opened
