"""Time that passes only while nobody has anything to do."""

import time

import anyio
import pytest

from codex_control_plane_mcp.selftest import virtual_time
from codex_control_plane_mcp.selftest.virtual_time import StandStill


def test_a_day_passes_in_no_time() -> None:
    async def wait_a_day() -> float:
        await anyio.sleep(86_400)
        return anyio.current_time()

    began = time.monotonic()
    assert virtual_time.run(wait_a_day) == pytest.approx(86_400, abs=1)
    assert time.monotonic() - began < 10


def test_who_is_due_first_comes_first() -> None:
    async def race() -> list[int]:
        came: list[int] = []

        async def come(after: int) -> None:
            await anyio.sleep(after)
            came.append(after)

        async with anyio.create_task_group() as tasks:
            for after in (300, 1, 20):
                tasks.start_soon(come, after)
        return came

    assert virtual_time.run(race) == [1, 20, 300]


def test_a_program_in_which_everybody_waits_is_noticed() -> None:
    async def wait_for_ever() -> None:
        await anyio.Event().wait()

    with pytest.raises(StandStill):
        virtual_time.run(wait_for_ever)
