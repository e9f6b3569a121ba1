"""The doors' tests run on virtual time, and with every tool switched on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.settings import ToolSet
from tests.desk.reception import Reception, reception


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path, toolsets=get_args(ToolSet)) as opened:
        yield opened
