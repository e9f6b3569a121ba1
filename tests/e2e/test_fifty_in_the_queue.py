"""Fifty operations through MCP on real Codex: small limits, none of them ever passed."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store.book import Book, opened
from tests.e2e.stage import Client, stage_of
from tests.work.limits import LimitWatch

pytestmark = [pytest.mark.real, pytest.mark.anyio]

#: Real turns are quick here; on a machine that does much else they are not.
PATIENCE_SECONDS = 240

LIMITS = Limits(everywhere=5, per_project=3, per_agent=2, writing_per_project=2)
SETTINGS: dict[str, Any] = {
    "CODEX_MCP_MAX_ACTIVE_TURNS_GLOBAL": "5",
    "CODEX_MCP_MAX_ACTIVE_TURNS_PER_PROJECT": "3",
    "CODEX_MCP_MAX_ACTIVE_TURNS_PER_AGENT": "2",
    "CODEX_MCP_MAX_ACTIVE_WRITE_TURNS_PER_PROJECT": "2",
}
PROJECTS = ["house", "garden", "shed"]
AGENTS = ["ann", "bob", "eve", "joe"]
KEYS = [[], ["src"], ["src/api"], ["docs"], ["src/web", "docs/web"], ["/"]]
SANDBOXES = ["workspace-write", "read-only", "workspace-write"]
PRIORITIES = ["low", "normal", "high"]


async def test_fifty_operations_all_end_and_no_limit_is_ever_passed() -> None:
    watch = LimitWatch(LIMITS)
    async with stage_of(**SETTINGS) as stage, stage.client() as client:
        folders = [stage.root / "projects" / name for name in PROJECTS]
        for folder in folders:
            folder.mkdir()
        with anyio.fail_after(PATIENCE_SECONDS), opened(stage.state_db) as book:
            first = await submit(client, 0, folders)
            thread_id = (await client.finished(first))["threadId"]
            ids = [await submit(client, number, folders, thread_id) for number in range(1, 50)]
            waiting = await client.call("codex_get_queue_status", limit=50)
            await ended(client, ids, book, watch)
            watch.look_back(book)
        ends = [await client.status(id_) for id_ in (first, *ids)]

    assert waiting["queued"], "fifty at once and none had to wait"
    assert all(line["reason"] for line in waiting["queued"])
    assert [end["status"] for end in ends] == ["completed"] * 50
    assert [end["finalReport"]["text"] for end in ends] == [f"done {n}" for n in range(50)]
    assert watch.broken == []
    assert watch.most == {"everywhere": 5, "project": 3, "agent": 2, "thread": 1, "writes": 2}


async def submit(
    client: Client, number: int, folders: list[Path], thread_id: str | None = None
) -> str:
    """Every fifth of the first project goes to its thread; all have of everything something."""
    to_thread = thread_id is not None and number % 15 == 0
    where: dict[str, Any] = (
        {"operation_type": "send_message", "thread_id": thread_id}
        if to_thread
        else {"cwd": str(folders[number % 3])}
    )
    receipt = await client.submit(
        f"wait 100ms\nsay done {number}",
        client_request_id=f"task-{number}",
        agent_id=AGENTS[number % 4],
        sandbox=SANDBOXES[number // 3 % 3],
        priority=PRIORITIES[number // 2 % 3],
        resource_keys=KEYS[number * 5 // 7 % 6],
        **where,
    )
    operation_id: str = receipt["operationId"]
    return operation_id


async def ended(client: Client, ids: list[str], book: Book, watch: LimitWatch) -> None:
    """Wait for all of them, and look at the limits whenever something has changed."""
    cursor: str | None = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        changed = await client.call("codex_wait", operation_ids=ids, wait_seconds=45, **more)
        watch.look(book)
        if not changed["unfinished"]:
            return
        cursor = changed["cursor"]
