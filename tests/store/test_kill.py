"""kill -9 in the midst of writing: what was acknowledged is there, and nothing is there by halves.

A small version; the sweep over every commit and every byte is a test of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from codex_control_plane_mcp.model.ids import OperationId
from tests.store.actors import PATIENCE_SECONDS
from tests.store.actors import desk as desk_at

#: Submits and moves operations for ever, and says of each when it is stored.
WRITE_FOR_EVER = """
import sys
from pathlib import Path
from tests.model.lives import LIFE, Status
from tests.store.actors import desk as desk_at

where = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
with desk_at(where) as desk:
    while True:
        operation = desk.submit()
        print(operation.id, operation.last_seq, flush=True)
        for fact in LIFE[Status.COMPLETED]:
            operation = desk.record(operation, fact)
            print(operation.id, operation.last_seq, flush=True)
"""


@pytest.mark.parametrize("acknowledged_before", [1, 60])
@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9")
def test_what_was_acknowledged_before_a_kill_is_there_and_whole(
    where: Path | str, acknowledged_before: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(where)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(acknowledged_before)]
    child.kill()
    rest, _ = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == -9
    said = [line.split() for line in "".join([*lines, rest]).splitlines(keepends=True)]
    acknowledged = {words[0]: int(words[1]) for words in said if len(words) == 2}

    with desk_at(where) as desk:
        query = text("SELECT id FROM operations")
        stored = desk.read(lambda connection: set(connection.scalars(query)))
        assert stored >= set(acknowledged)
        # At most the one that was under way is more than was acknowledged.
        assert len(stored) <= len(acknowledged) + 1
        for id_ in stored:
            operation = desk.get(OperationId(id_))
            assert len(desk.journal(operation.id)) == operation.last_seq
            assert operation.last_seq >= acknowledged.get(id_, 0)
        desk.submit(desk.submission("The book goes on."))
