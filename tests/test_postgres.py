"""The PostgreSQL of the tests is real, empty for each test, and gone with the process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text

if os.name == "posix":
    from tests.postgres import Postgres

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs unix sockets")

ROOT = Path(__file__).parent.parent

START_AND_DIE = """
import os, signal
from tests.postgres import postgres
with postgres() as server:
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_each_database_is_empty_and_its_own(postgres_server: Postgres) -> None:
    for _ in range(2):
        with postgres_server.database() as url:
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE only_here (id int)"))
            engine.dispose()


def test_a_killed_test_run_leaves_no_server_behind() -> None:
    died = subprocess.run(
        [sys.executable, "-c", START_AND_DIE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(died.stdout)).wait(timeout=20)
    assert died.returncode == -9
