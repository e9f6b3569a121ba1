"""Who writes what nobody waits for lets all others go first."""

import threading
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from codex_control_plane_mcp.store.book import Book, Writing, opened


async def test_a_writer_somebody_waits_for_passes_all_but_one_of_the_patient(
    tmp_path: Path,
) -> None:
    order: list[str] = []
    is_free = threading.Event()

    async def stand_in_line(tasks: TaskGroup, book: Book, name: str, *, patient: bool) -> None:
        def write(_: Writing) -> None:
            order.append(name)

        async def run() -> None:
            await book.write(write, patient=patient)

        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()

    with opened(tmp_path / "book.sqlite3") as book, anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(book.write, lambda _: is_free.wait(30))
            await checkpoint()
            for number in range(3):
                await stand_in_line(tasks, book, f"streamed {number}", patient=True)
            await stand_in_line(tasks, book, "submitted", patient=False)
            await stand_in_line(tasks, book, "ended", patient=False)
            is_free.set()
    assert order == ["streamed 0", "submitted", "ended", "streamed 1", "streamed 2"]
