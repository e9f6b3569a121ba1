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
def at(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path) as opened:
        yield opened
