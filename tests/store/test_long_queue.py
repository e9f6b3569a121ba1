"""What a fleet's hosts ask of PostgreSQL again and again costs the same however many tasks wait."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from sqlalchemy import Connection, text

from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.model.operation import Cancelled
from codex_control_plane_mcp.model.schedule import Limits, Reach
from codex_control_plane_mcp.store import herald, hosts, lookup, operations, queue
from codex_control_plane_mcp.store.book import Writing
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at

pytestmark = pytest.mark.usefixtures("where_postgres_runs")

WAITING = 3_000
AGENTS = 3
#: As many as start in one project; for one more the host would search the lines for another one.
CAPACITY = 3


@pytest.fixture
def east(postgres_url: str) -> Iterator[Desk]:
    """A host with a long queue; another one is connected and has room."""
    with desk_at(postgres_url, host=HostId("east")) as east, ExitStack() as stack:
        for agent in range(AGENTS):
            east.submit(east.submission(agent=f"agent-{agent}"))
        for name in ("east", "west"):
            _enrol(stack.enter_context(desk_at(postgres_url, host=HostId(name))))
        line = stack.enter_context(psycopg.connect(_plain(postgres_url), autocommit=True))
        for (number,) in line.execute("SELECT number FROM hosts").fetchall():
            line.execute("SELECT pg_advisory_lock(%s::int4, %s::int4)", (hosts.LOCKS, number))
        line.execute(_MANY, {"times": WAITING // AGENTS})
        line.execute("ANALYZE operations")
        yield east


def _enrol(desk: Desk) -> None:
    def enrol(writing: Writing) -> None:
        name = writing.host
        hosts.enrol(writing, hosts.Card(f"mark of {name}", f"/homes/{name}", CAPACITY))

    desk.write(enrol)


def test_to_tell_of_an_end_reads_no_row_that_waits(east: Desk) -> None:
    operation = east.read(lambda reading: lookup.newest(reading, 1))[0]

    def end(writing: Writing) -> int:
        operations.record(writing, operation, Cancelled())
        return _rows_read(writing.connection, lambda: herald.tell(writing, HostId("east")))

    assert east.write(end) < 20


def test_to_decide_reads_the_heads_alone_also_where_the_plan_is_for_any_host(east: Desk) -> None:
    reach = Reach(HostId("east"), frozenset({"house"}), CAPACITY)
    now = east.clock.now()

    def look(writing: Writing) -> tuple[int, int]:
        seen: list[queue.Outlook] = []
        read = _rows_read(
            writing.connection,
            lambda: seen.append(
                queue.look(writing.connection, reach.host, Limits(), now, lambda _: reach)
            ),
        )
        return read, len(seen[0].startable)

    # As a writer, whose plans know no values.
    read, startable = east.write(look, pen=False)
    assert startable == CAPACITY == Limits().per_project
    assert read < 100


def _rows_read(connection: Connection, work: Callable[[], object]) -> int:
    """How many rows of operations the server reads for `work`."""
    before = connection.scalar(_READ)
    work()
    return int((connection.scalar(_READ) or 0) - (before or 0))


def _plain(url: str) -> str:
    return url.replace("+psycopg", "")


_READ = text(
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'operations'"
)
#: Each task so many times more.
_MANY = """INSERT INTO operations SELECT (jsonb_populate_record(
    one, jsonb_build_object('id', one.id || n, 'prompt_key', NULL, 'client_request_id', NULL)
)).* FROM operations AS one, generate_series(1, %(times)s) AS n"""
