"""What is listed, what it costs, and what becomes of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from codex_control_plane_mcp.doors.mcp.fit import compact
from codex_control_plane_mcp.doors.mcp.instructions import instructions
from codex_control_plane_mcp.doors.mcp.tools import TOOLS, offered
from codex_control_plane_mcp.settings import ToolSet, load
from tests.desk.reception import Reception, reception
from tests.doors.clients import EVERYTHING, calling, client_of, task

DEFAULT = load({}).toolsets
#: tools/list is in an agent's context from its first word on. By default it is to be two fifths of
#: what 0.2.1 lists, 67,700 bytes without white space.
MAX_BYTES = {("core",): 12_500, DEFAULT: 27_080, get_args(ToolSet): 29_500}


@pytest.mark.parametrize("sets", MAX_BYTES)
def test_what_is_listed_stays_small(sets: tuple[ToolSet, ...]) -> None:
    # What `_meta` says is for clients, and is not shown to models.
    read = [{**one, "_meta": None} for one in offered(sets).definitions]
    size = len(compact(read).encode()) - len(',"_meta":null') * len(read)
    assert size <= MAX_BYTES[sets], f"{size - MAX_BYTES[sets]} bytes too many in {sets}"
    assert len(instructions(sets).encode()) < 4096


def test_everything_but_the_drop_in_tools_is_listed_by_default() -> None:
    assert set(get_args(ToolSet)) - set(DEFAULT) == {"dropin"}
    assert all(tool.toolset != "dropin" for tool in offered(DEFAULT).tools)


async def test_a_client_is_told_of_the_tools_that_are_switched_on_and_of_no_other(
    tmp_path: Path,
) -> None:
    sets: tuple[ToolSet, ...] = ("core", "read")
    with reception(tmp_path, toolsets=sets) as at:
        async with client_of(at.desk) as session:
            assert session.instructions == instructions(sets)
            listed = (await session.list_tools()).tools
            wire = [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed]
        async with calling(at) as client:
            health = await client.ok("codex_health_summary")
    assert wire == list(offered(sets).definitions)
    names = [tool.name for tool in listed]
    assert names == [tool.name for tool in TOOLS if tool.toolset in sets]
    assert {*health["stableTools"], *health["compatibilityTools"]} == set(names)
    assert health["toolSurfaceHash"] != EVERYTHING.version.tool_surface_hash


async def test_a_tool_that_is_switched_off_is_refused_with_the_setting_that_switches_it_on(
    tmp_path: Path,
) -> None:
    with reception(tmp_path, toolsets=("core", "read")) as at:
        async with calling(at) as client:
            error = await client.refused("codex_archive_thread", thread_id="t-1")
            assert error["code"] == "INVALID_ARGUMENT"
            assert "lifecycle" in error["message"]
            assert "CODEX_MCP_TOOLSETS" in error["message"]
            health = await client.ok("codex_health_summary")
            assert health["activeWork"]["pendingRequests"] == 0


def test_instructions_name_no_tool_that_is_not_offered() -> None:
    for one in get_args(ToolSet):
        off = {tool.name for tool in TOOLS if tool.toolset != one}
        said = instructions((one,)).replace("(", " ").split()
        assert off.isdisjoint(said), one


def test_every_tool_has_its_own_name() -> None:
    assert len({tool.name for tool in TOOLS}) == len(TOOLS)


async def test_a_receipt_says_more_than_its_schema_spells_out(at: Reception) -> None:
    async with calling(at) as client:
        receipt = await client.ok("codex_submit_task", **task(at))
    assert {"createdAt", "evidence", "effectivePolicy"} <= set(receipt)
