"""Pages over a desk whose workshop does what a test tells it to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk.reception import Reception, reception


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path, threads=True) as opened:
        yield opened
