"""What is wrong on the real binary is named, collected and mended, over MCP stdio."""

import json
import os
import signal

import anyio
import psutil
import pytest

from codex_control_plane_mcp.processes import Identity, is_alive
from tests.e2e.stage import SOON_SECONDS, Client, Result, Stage, ToolError, stage_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def cause_of(client: Client, **scope: str) -> Result:
    """The likely root cause."""
    analysis = await client.call("codex_analyze_issue", **scope)
    assert analysis["likelyRootCause"] is not None, analysis
    assert analysis["findings"][0]["evidence"]
    cause: Result = analysis["likelyRootCause"]
    return cause


async def stop(process: Identity) -> None:
    """Have it hang: on a busy machine its threads take a moment to stop."""
    os.kill(process.pid, signal.SIGSTOP)
    with anyio.fail_after(SOON_SECONDS):
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def repair(client: Client, action: str, **arguments: object) -> Result:
    return await client.call("codex_repair_issue", action=action, **arguments)


async def test_a_hung_app_server_is_found_collected_and_replaced() -> None:
    async with stage_of() as stage, stage.client() as client:
        receipt = await client.submit(
            "Rumpelstiltskin\nhold here\nsay too late", cwd=str(stage.project)
        )
        operation_id = receipt["operationId"]
        await stage.model.arrived("here")
        await client.until(operation_id, "running")
        hung = stage.app_server()
        await stop(hung)

        # Named.
        analysis = await client.call("codex_analyze_issue", operation_id=operation_id)
        cause = analysis["likelyRootCause"]
        assert (cause["category"], cause["confidence"]) == ("app_server_unreachable", "high")
        (advice,) = analysis["recommendedRepairActions"]
        assert advice["action"] == "force_restart_app_server"
        assert advice["needsForce"]

        # Collected, and safe to be pasted.
        collected = await client.call("codex_collect_diagnostics", operation_id=operation_id)
        told = [event["text"] for event in collected["timeline"]]
        assert told[0] == "Queued."
        assert any(text.startswith("Codex runs turn") for text in told)
        checks = {one["name"]: one["status"] for one in collected["checks"]}
        assert checks["app_server"] == "failed"
        assert checks["disk"] == "ok"
        written = json.dumps(collected)
        assert "Rumpelstiltskin" not in written
        assert str(stage.root) not in written, "that is its HOME"

        # Not without force, and not by a dry run.
        with pytest.raises(ToolError, match="busy") as busy:
            await client.call("codex_restart_app_server")
        assert busy.value.code == "CODEX_BUSY"
        planned = await repair(client, advice["action"], force=True)
        assert (planned["outcome"], planned["changed"]) == ("planned", False)
        assert planned["changes"][0]["name"] == f"pid {hung.pid}"
        assert "1 turn of it would be cut off" in planned["result"]
        assert is_alive(hung)

        # Mended.
        done = await repair(client, advice["action"], force=True, dry_run=False)
        assert (done["outcome"], done["changed"]) == ("applied", True)
        assert done["changes"] == planned["changes"]
        assert not is_alive(hung)
        ended = await client.until(operation_id, "interrupted")
        assert ended["lastError"]["code"] == "CODEX_APP_SERVER_UNAVAILABLE"
        cause = await cause_of(client, operation_id=operation_id)
        assert cause["category"] == "interrupted_by_exit"
        again = await client.submit("say well again", cwd=str(stage.project))
        finished = await client.finished(again["operationId"])
        assert finished["finalReport"]["text"] == "well again"
        health = await client.call("codex_health_summary")
        assert health["overallStatus"] == "healthy"
        assert health["appServer"]["pid"] != hung.pid
        assert health["appServer"]["startedAt"] >= receipt["createdAt"]
        well = await client.call("codex_analyze_issue")
        assert well["likelyRootCause"] is None, well

        # An idle one is restarted without force.
        before = stage.app_server()
        restarted = await client.call("codex_restart_app_server")
        assert restarted["changed"]
        assert stage.app_server() != before

        # The log leads from the call to the turn.
        log = await client.call("codex_get_diagnostic_logs", operation_id=again["operationId"])
        lines = log["lines"]
        assert lines[0]["told"]["tool"] == "codex_submit_task"
        assert lines[0]["callId"].startswith("call_")
        assert any("Codex runs turn" in line["message"] for line in lines)


async def test_what_goes_wrong_on_real_codex_is_named_right(stage: Stage) -> None:
    async with stage.client() as client:
        for script, category in (
            ("fail 401 invalid_api_key Incorrect API key provided", "auth_missing"),
            ("fail 429 usage_limit_reached You've hit your usage limit.", "quota_reached"),
            ("fail 429 rate_limit_exceeded slower", "rate_limited"),
            ("fail 500 server_error boom", "model_unavailable"),
        ):
            receipt = await client.submit(script, cwd=str(stage.project))
            await client.finished(receipt["operationId"])
            cause = await cause_of(client, operation_id=receipt["operationId"])
            assert (cause["category"], cause["confidence"]) == (category, "high"), script

        asks = await client.submit("run! touch x # because I must", cwd=str(stage.project))
        question = await client.asked(asks["operationId"])
        cause = await cause_of(client, operation_id=asks["operationId"])
        assert cause["category"] == "approval_waiting"

        # The same prompt once more, and a folder that is not allowed.
        with pytest.raises(ToolError):
            await client.submit("run! touch x # because I must", cwd=str(stage.project))
        with pytest.raises(ToolError):
            await client.submit("say no", cwd="/")
        found = (await client.call("codex_analyze_issue"))["findings"]
        named = {one["category"] for one in found}
        assert {"duplicate_prompt", "path_outside_roots", "approval_waiting"} <= named

        # Its turn is ended by a repair; the process that ran another is killed.
        ended = await repair(
            client,
            "interrupt_turn",
            operation_id=asks["operationId"],
            dry_run=False,
            force=True,
        )
        assert ended["changed"], ended
        with anyio.fail_after(SOON_SECONDS):
            assert (await client.status(asks["operationId"]))["status"] == "interrupted"
        assert question["interactionId"]
        held = await client.submit("hold here\nsay too late", cwd=str(stage.project))
        await stage.model.arrived("here")
        await client.until(held["operationId"], "running")
        stage.kill(stage.app_server())
        await client.until(held["operationId"], "interrupted")
        cause = await cause_of(client, operation_id=held["operationId"])
        assert cause["category"] == "interrupted_by_exit"


async def test_a_home_without_a_login_is_named_before_a_task_fails(stage: Stage) -> None:
    config = stage.root / "codex" / "config.toml"
    needs = 'wire_api = "responses"\nrequires_openai_auth = true'
    config.write_text(config.read_text().replace('wire_api = "responses"', needs))
    async with stage.client() as client:
        idle = await client.call("codex_analyze_issue")
        assert idle["likelyRootCause"] is None
        assert idle["nextStep"] == "Nothing is known to be wrong."
        health = await client.call("codex_health_summary")
        assert health["appServer"]["status"] == "not_started", "nothing is started to look"
        await client.call("codex_get_runtime_capabilities", refresh=True)

        cause = await cause_of(client)

        assert (cause["category"], cause["confidence"]) == ("auth_missing", "high")
