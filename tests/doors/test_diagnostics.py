"""What is wrong, over MCP."""

from __future__ import annotations

from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Failed, Trouble
from tests.desk.reception import Reception
from tests.desk.test_status import running
from tests.doors.clients import calling


async def test_an_issue_is_analyzed_and_says_what_to_do(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.record(operation_id, Failed(Trouble("usageLimitExceeded", "later")))

    async with calling(at) as client:
        analysis = await client.ok("codex_analyze_issue", operation_id=operation_id)
        well = await client.ok("codex_analyze_issue", problem_text="")
        error = await client.refused("codex_analyze_issue", thread_id="t-x")

    assert analysis["likelyRootCause"]["category"] == "quota_reached"
    assert analysis["findings"][0]["operationId"] == operation_id
    assert analysis["nextRecommendedAction"] == "follow_findings"
    assert analysis["nextStep"] == analysis["findings"][0]["nextStep"]
    assert well["likelyRootCause"]["category"] == "quota_reached"
    assert error["code"] == "CODEX_THREAD_NOT_FOUND"


async def test_what_is_collected_fits_and_keeps_the_end(at: Reception) -> None:
    for number in range(1, 5):
        operation_id = await running(at, number)
        notices = [Entry(Category.NOTICE, f"notice {n} " + "x" * 300) for n in range(60)]
        await at.workshop.record(operation_id, entries=notices)

    async with calling(at) as client:
        collected = await client.ok("codex_collect_diagnostics")

    assert collected["timeline"][-1]["text"].startswith("notice 59")
    assert {one["status"] for one in collected["checks"]} <= {"ok", "unknown"}
    assert collected["versions"]["server"]
    assert collected["nextStep"] == "Nothing is known to be wrong."


async def test_the_log_is_shown_within_its_bounds(at: Reception) -> None:
    lines = [f'{{"at":"t","level":"INFO","message":"line {n} {"y" * 90}"}}\n' for n in range(200)]
    at.settings.worker_log.write_text("".join(lines))

    async with calling(at) as client:
        shown = await client.ok("codex_get_diagnostic_logs", limit=200)
        refused = await client.refused("codex_get_diagnostic_logs", limit=201)

    assert shown["truncated"]
    assert shown["lines"][-1]["message"].startswith("line 199")
    assert refused["code"] == "INVALID_ARGUMENT"
