"""Every recommended action has its sentence, in results and in errors."""

from __future__ import annotations

from collections.abc import Iterator

from codex_control_plane_mcp.desk import repair, status
from codex_control_plane_mcp.desk.workflows import status as workflow_status
from codex_control_plane_mcp.doors.mcp.guidance import SENTENCES
from codex_control_plane_mcp.errors import ControlPlaneError
from tests.desk.reception import Reception
from tests.doors.clients import calling, task


def _errors(kind: type[ControlPlaneError]) -> Iterator[type[ControlPlaneError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _errors(each)


def test_every_action_has_a_sentence() -> None:
    recommended = {
        *status._NEXT.values(),
        *workflow_status._NEXT.values(),
        *workflow_status._WAIT.values(),
        *repair._NEXT.values(),
        *(error.next_action for error in _errors(ControlPlaneError)),
    }
    assert recommended <= set(SENTENCES)


async def test_a_result_says_what_to_do_in_a_word_and_in_a_sentence(at: Reception) -> None:
    async with calling(at) as client:
        receipt = await client.ok("codex_submit_task", **task(at))
        health = await client.ok("codex_health_summary")
        error = await client.refused("codex_get_operation_status", operation_id="op_x")

    assert receipt["nextRecommendedAction"] == "wait"
    assert "codex_wait" in receipt["nextStep"]
    assert health["nextStep"] == SENTENCES["none"]
    assert error["nextRecommendedAction"] == "look_up_id"
