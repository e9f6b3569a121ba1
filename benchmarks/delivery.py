"""Delivery: how a host hears of an operation that another one has taken in, and what that costs the
submission: by our own bell (NOTIFY in its transaction), and by a DBOS queue on the same database.

`python -m benchmarks.delivery [--tasks N]`, with `pip install dbos`. Decision 0016 has the figures.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import quantiles
from typing import Any

import psycopg
from sqlalchemy import Engine, event

from benchmarks.guard import task
from codex_control_plane_mcp.model.ids import OperationId, new_operation_id
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.book import Book, Writing, opened
from tests.postgres import FAST, postgres

CHANNEL = "delivered"
QUEUE = "host-east"
#: Between two submissions: what is measured is the way, not a line at the pen.
PAUSE_SECONDS = 0.02
Enqueue = Callable[[Writing, OperationId], object]
Hear = Callable[[str], None]


@contextmanager
def by_bell(plain: str, hear: Hear) -> Iterator[Enqueue]:
    """As `store.presence` does it: one connection that listens."""
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            ready.set()
            while not done.is_set():
                for heard in connection.notifies(timeout=0.2):
                    hear(heard.payload)

    listener = threading.Thread(target=listen)
    listener.start()
    ready.wait()

    def enqueue(writing: Writing, operation_id: OperationId) -> None:
        writing.connection.exec_driver_sql(
            "SELECT pg_notify(%(channel)s, %(id)s)", {"channel": CHANNEL, "id": operation_id}
        )

    yield enqueue
    done.set()
    listener.join()


def by_dbos(poll_seconds: float) -> Callable[[str, Hear], Any]:
    @contextmanager
    def deliver(plain: str, hear: Hear) -> Iterator[Enqueue]:
        from dbos import DBOS, DBOSClient

        DBOS(
            config={
                "name": "codex-delivery",
                "system_database_url": plain,
                "executor_id": "east",
                "application_version": "1",
                "log_level": "ERROR",
            }
        )
        DBOS.workflow(name="drive")(hear)
        DBOS.launch()
        DBOS.register_queue(QUEUE, polling_interval_sec=poll_seconds)
        client = DBOSClient(system_database_url=plain, application_name="codex-delivery")

        def enqueue(writing: Writing, operation_id: OperationId) -> object:
            options: Any = {
                "workflow_name": "drive",
                "queue_name": QUEUE,
                "workflow_id": operation_id,
            }
            return client.enqueue_in_transaction(writing.connection, options, operation_id)

        yield enqueue
        client.destroy()
        DBOS.destroy(destroy_registry=True)

    return deliver


def measure(tasks: int, way: Callable[[str, Hear], Any]) -> str:
    heard: dict[str, float] = {}
    all_heard = threading.Event()
    submits: list[float] = []
    committed: dict[str, float] = {}
    statements = Counter[str]()

    def hear(operation_id: str) -> None:
        heard[operation_id] = time.perf_counter()
        if len(heard) == tasks:
            all_heard.set()

    with (
        postgres(FAST) as server,
        server.database() as url,
        opened(url, make=partial(_counting, statements)) as book,
        way(url.replace("+psycopg", ""), hear) as enqueue,
    ):
        statements.clear()
        for number in range(tasks):
            began = time.perf_counter()
            operation_id, _ = book.write_now(partial(_submit, number, enqueue))
            committed[operation_id] = time.perf_counter()
            submits.append((committed[operation_id] - began) * 1000)
            time.sleep(PAUSE_SECONDS)
        each = statements.total() / tasks
        if not all_heard.wait(60):
            return f"heard {len(heard)} of {tasks}"
    waits = [(heard[one] - at) * 1000 for one, at in committed.items()]
    submit, wait = quantiles(submits, n=100), quantiles(waits, n=100)
    return (
        f"{submit[49]:>10.1f} / {submit[98]:>5.1f} | {wait[49]:>8.1f} / {wait[98]:>6.1f}"
        f" | {each:>10.1f}"
    )


def _submit(number: int, enqueue: Enqueue, writing: Writing) -> OperationId:
    operation_id = new_operation_id(writing.now)
    operations.insert_operation(writing, operation_id, task(number))
    enqueue(writing, operation_id)
    return operation_id


def _counting(statements: Counter[str], writer: Engine, reader: Engine) -> Book:
    def count(*_: object) -> None:
        statements["all"] += 1

    event.listen(writer, "after_cursor_execute", count)
    return Book(writer, reader)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=200)
    given = parser.parse_args()
    sys.stdout.write("           submit p50 / p99 ms | heard p50 / p99 ms | statements\n")
    for name, way in (
        ("bell", by_bell),
        ("DBOS 1 s", by_dbos(1.0)),
        ("DBOS 0.1 s", by_dbos(0.1)),
    ):
        sys.stdout.write(f"{name:<11}{measure(given.tasks, way)}\n")
        sys.stdout.flush()
