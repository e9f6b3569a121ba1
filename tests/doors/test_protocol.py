"""What MCP has around calls: progress, cancellation, notices, hints; in both eras."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.types import ResourceListChangedNotification, ResourceUpdatedNotification

from codex_control_plane_mcp.doors.mcp.progress import SILENCE_SECONDS
from tests.desk.reception import Reception
from tests.desk.test_status import running, submitted
from tests.doors.eras import LEGACY, MODERN, both_eras, call, client_in, content_of

WAITING = [
    ("codex_wait", {"operation_ids": ["{}"], "wait_seconds": 45}),
    ("codex_get_operation_status", {"operation_id": "{}", "wait_seconds": 45}),
]


def naming(arguments: dict[str, Any], id_: str) -> dict[str, Any]:
    return {
        name: [id_] if value == ["{}"] else id_ if value == "{}" else value
        for name, value in arguments.items()
    }


# --- Progress ------------------------------------------------------------------------------------


@both_eras
@pytest.mark.parametrize(("tool", "arguments"), WAITING)
async def test_who_waits_with_a_token_hears_how_it_stands(
    at: Reception, era: str, tool: str, arguments: dict[str, Any]
) -> None:
    id_ = await running(at)
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert total is None  # nobody knows
        heard.append((progress, message))

    async with client_in(era, at.desk) as client, anyio.create_task_group() as group:

        async def work() -> None:
            await anyio.sleep(3)
            await at.workshop.note(id_, "git status --short")
            await anyio.sleep(35)
            await at.workshop.complete(id_)

        group.start_soon(work)
        with anyio.fail_after(60):
            await client.call_tool(tool, naming(arguments, id_), progress_callback=hear)
    seconds = [progress for progress, _ in heard]
    assert seconds == sorted(set(seconds))  # it must grow
    assert heard[0] == (3.0, "running: git status --short")
    # Silence is broken too, for a client that would give up.
    assert max(b - a for a, b in pairwise(seconds)) <= SILENCE_SECONDS + 1


@both_eras
async def test_a_call_that_blocks_reports_progress_of_what_it_has_made(
    at: Reception, era: str
) -> None:
    heard: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with client_in(era, at.desk) as client:
        arguments = {"message": "mend the till", "cwd": str(at.project)}
        result = await client.call_tool("codex_start_chat", arguments, progress_callback=hear)
    assert content_of(result)["status"] == "queued"
    assert heard
    assert set(heard) == {"queued: Queued."}


# --- Cancellation --------------------------------------------------------------------------------


@both_eras
async def test_a_wait_that_is_cancelled_ends_and_what_was_written_stays(
    at: Reception, era: str
) -> None:
    async with client_in(era, at.desk) as client:
        with anyio.move_on_after(5) as given_up:
            arguments = {"message": "mend the till", "cwd": str(at.project)}
            await client.call_tool("codex_start_chat", arguments)
        assert given_up.cancelled_caught
        queue = await call(client, "codex_get_queue_status")
        assert len(queue["queued"]) == 1
        assert len(at.book.bell._listeners) == 0  # nobody waits any more


# --- Notices -------------------------------------------------------------------------------------


async def test_a_client_of_the_new_era_hears_of_what_it_listens_to(at: Reception) -> None:
    id_ = await running(at)
    status, events = f"codex://operation/{id_}", f"codex://operation/{id_}/events?after_seq=2"
    uris = [status, events, "codex://thread/t-1", "codex://operation/op_other"]
    async with (
        client_in(MODERN, at.desk) as client,
        client.listen(resources_list_changed=True, resource_subscriptions=uris) as stream,
    ):
        heard = aiter(stream)
        await at.workshop.note(id_, "git status")
        with anyio.fail_after(20):
            told = {await anext(heard), await anext(heard), await anext(heard)}
            assert told == {
                ResourceUpdated(status),
                ResourceUpdated(events),
                ResourceUpdated("codex://thread/t-1"),
            }
            at.clock.at += 1
            await submitted(at, "another")
            assert await anext(heard) == ResourcesListChanged()


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_an_older_client_hears_of_what_it_subscribed_to_and_read(at: Reception) -> None:
    id_ = await running(at)
    uri = f"codex://operation/{id_}"
    heard: list[Any] = []
    news = anyio.Event()

    async def hear(message: Any) -> None:
        nonlocal news
        heard.append(message)
        news.set()
        news = anyio.Event()

    async with client_in(LEGACY, at.desk, message_handler=hear) as client:
        await client.session.subscribe_resource(uri)
        await at.workshop.note(id_, "git status")
        with anyio.fail_after(20):
            await news.wait()
            at.clock.at += 1
            await submitted(at, "another")
            await news.wait()
        await client.session.unsubscribe_resource(uri)
        await at.workshop.note(id_, "git diff")
        await anyio.sleep(5)
    updated, relisted = heard
    assert isinstance(updated, ResourceUpdatedNotification)
    assert updated.params.uri == uri
    assert isinstance(relisted, ResourceListChangedNotification)


async def test_who_only_calls_tools_is_not_disturbed(at: Reception) -> None:
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message)

    async with client_in(LEGACY, at.desk, message_handler=hear) as client:
        await call(
            client,
            "codex_submit_task",
            operation_type="start_chat",
            message="mend the till",
            cwd=str(at.project),
        )
        await anyio.sleep(5)
        assert not heard
        await client.list_resources()
        at.clock.at += 1
        await submitted(at, "another")
        await anyio.sleep(5)
    assert [type(one) for one in heard] == [ResourceListChangedNotification]


# --- Hints ---------------------------------------------------------------------------------------


async def test_lists_that_only_a_release_changes_may_be_kept(at: Reception) -> None:
    async with client_in(MODERN, at.desk) as client:
        for kept in (
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resource_templates(),
        ):
            assert (kept.ttl_ms, kept.cache_scope) == (300_000, "public")
        listed = await client.list_resources()
        assert (listed.ttl_ms, listed.cache_scope) == (0, "private")


@pytest.mark.parametrize(("era", "spoken"), [(LEGACY, "2025-11-25"), ("auto", MODERN)])
async def test_every_change_that_is_told_is_declared(at: Reception, era: str, spoken: str) -> None:
    async with client_in(era, at.desk) as client:
        assert client.protocol_version == spoken
        declared = client.server_capabilities
        assert declared.tools is not None
        assert declared.resources is not None
        assert declared.tools.list_changed
        assert declared.resources.list_changed
        assert declared.resources.subscribe


@both_eras
async def test_the_core_is_always_at_hand(at: Reception, era: str) -> None:
    async with client_in(era, at.desk) as client:
        hints = {tool.name: tool.meta or {} for tool in (await client.list_tools()).tools}
    assert hints["codex_submit_task"] == {"anthropic/alwaysLoad": True}
    assert hints["codex_get_operation_status"] == {
        "anthropic/alwaysLoad": True,
        "anthropic/maxResultSizeChars": 20_000,
    }
    assert hints["codex_list_projects"] == {}
