"""Guard: what it costs to see that the same prompt is being worked on, in a book with 10,000 tasks.

In this process, without a worker: the prompt's key, the look for it in the book, and the whole of a
submission that is refused. Beside it the same in a book with one task. The 10,000 are all
unfinished, so all of them are in the index. CPU time: nothing here waits for anything.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.figures import Aim, Figure, Spread, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds
from codex_control_plane_mcp.desk.submit import enter
from codex_control_plane_mcp.errors import DuplicatePromptActive
from codex_control_plane_mcp.model.ids import ProjectId, new_operation_id
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat, Submission, TurnOptions, prompt_key
from codex_control_plane_mcp.store import lookup, operations
from codex_control_plane_mcp.store.book import Book, Writing, opened

TASKS = 10_000
#: So many calls are timed together: one alone is about as short as the clock's own reading.
BATCH = 20
#: A prompt of usual length.
PROMPT = "Look at the failing test, find out why it fails, and mend what is wrong. " * 10


def measure(_installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    many, count = rounds.of(TASKS, 1_000), rounds.of(200, 30)
    with (
        tempfile.TemporaryDirectory(prefix="codex-bench-guard-") as folder,
        _book(Path(folder) / "one.sqlite3", 1) as small,
        _book(Path(folder) / "many.sqlite3", many) as large,
    ):
        fresh = prompt_key(task(many))
        assert fresh is not None
        yield Figure(
            what="the key of a prompt",
            unit="µs",
            ours=_microseconds(lambda: prompt_key(task(0)), count),
            note=f"{len(PROMPT)} characters",
        )
        yield Figure(
            what=f"is the same prompt among {many} unfinished?",
            unit="µs",
            ours=_microseconds(_looks(large, fresh), count),
            beside=_microseconds(_looks(small, fresh), count),
            beside_is="among one",
            aim=Aim(limit=500),
            note="no; with the transaction that reads",
        )
        yield Figure(
            what=f"a submission refused as one of {many}",
            unit="µs",
            ours=_microseconds(_refusals(large), count),
            beside=_microseconds(_refusals(small), count),
            beside_is="as the only one",
        )


def task(number: int) -> Submission:
    options = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
    message = f"PR #{number}: {PROMPT}"
    return Submission(StartChat(message, "/work/shop", ProjectId("shop"), options))


@contextmanager
def _book(path: Path, tasks: int) -> Iterator[Book]:
    def fill(writing: Writing) -> None:
        for number in range(tasks):
            operations.insert_operation(writing, new_operation_id(writing.now), task(number))

    with opened(path) as book:
        book.write_now(fill)
        yield book


def _looks(book: Book, key: str) -> Callable[[], object]:
    return lambda: book.read_now(lambda reading: lookup.unfinished_with_prompt(reading, key))


def _refusals(book: Book) -> Callable[[], object]:
    def submit() -> None:
        with suppress(DuplicatePromptActive):
            book.write_now(lambda writing: enter(writing, task(0)))
            raise AssertionError("it was taken twice")

    return submit


def _microseconds(call: Callable[[], object], count: int) -> Spread:
    times = []
    for _ in range(count):
        began = time.thread_time()
        for _ in range(BATCH):
            call()
        times.append((time.thread_time() - began) / BATCH * 1e6)
    return spread(times)
