"""What Codex offers and whether a task would run, over MCP stdio on real Codex."""

import anyio
import pytest

from codex_control_plane_mcp.codex.inventory import Wanted, take
from codex_control_plane_mcp.codex.session import Whereabouts, open_session
from codex_control_plane_mcp.rpc.websocket import connect_unix
from tests.e2e.stage import SOON_SECONDS, Client, Stage
from tests.fakes.wire import Mishap, Scissors

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def test_codex_is_started_to_be_asked_only_when_it_is_said(
    stage: Stage, client: Client
) -> None:
    idle = await client.call("codex_get_runtime_capabilities")
    assert idle["runtimeCapabilities"]["status"] == "unavailable"
    with pytest.raises(AssertionError):
        stage.app_server()

    asked = await client.call(
        "codex_get_runtime_capabilities",
        refresh=True,
        cwd=str(stage.project),
        timeout_seconds=45,
    )
    found = asked["runtimeCapabilities"]
    assert (found["status"], asked["cacheState"], asked["warnings"]) == ("ok", "fresh", [])
    assert found["appServer"]["status"] == "running"
    methods = found["schemaMethods"]
    assert methods["source"] == "generate-json-schema"
    assert methods["version"] == found["appServer"]["version"]
    assert methods["methodCount"] > 100
    assert len(methods["hash"]) == 64
    assert [model["id"] for model in found["models"]] == ["scripted"]
    assert ":workspace" in [profile["id"] for profile in found["permissionProfiles"]]
    assert found["hooks"] == {"total": 0, "running": 0}
    assert found["accountStatus"]["loggedIn"] is False
    assert asked["methodResults"]["account/rateLimits/read"]["status"] == "skipped"
    assert not stage.model.requests

    again = await client.call("codex_get_runtime_capabilities", cwd=str(stage.project))
    assert (again["runtimeCapabilities"], again["cacheState"]) == (found, "cached")
    brief = (await client.call("codex_health_summary"))["runtimeCapabilities"]
    assert (brief["status"], brief["modelCount"]) == ("ok", 1)


async def test_a_method_that_hangs_leaves_the_rest_in_time(stage: Stage, client: Client) -> None:
    await client.call("codex_preflight_project_run", cwd=str(stage.project))
    scissors = Scissors()
    scissors.at_next("skills/list", Mishap.LOSE_ANSWER)
    async with stage.codex() as other:
        address = other.app_server.address
        assert address is not None
        wire = scissors.around(await connect_unix(address))
        async with open_session(wire, Whereabouts("unix", address, owned=False)) as session:
            began = anyio.current_time()
            with anyio.fail_after(SOON_SECONDS):
                found = await take(session, Wanted(cwd=str(stage.project)), 3)
            assert anyio.current_time() - began < 4

    assert found.outcomes["skills/list"].status == "timeout"
    assert found.skill_count is None
    others = {one.status for method, one in found.outcomes.items() if method != "skills/list"}
    assert others == {"ok", "skipped"}


async def test_a_preflight_looks_and_a_live_probe_runs_one_turn(
    stage: Stage, client: Client
) -> None:
    looked = await client.call("codex_preflight_project_run", cwd=str(stage.project))
    assert (looked["status"], {one["status"] for one in looked["checks"]}) == ("ready", {"ok"})
    assert not stage.model.requests

    probed = await client.call(
        "codex_preflight_project_run", cwd=str(stage.project), live_probe=True
    )
    again = await client.call(
        "codex_preflight_project_run", cwd=str(stage.project), live_probe=True
    )
    assert probed["status"] == "ready"
    assert probed["liveProbe"]["status"] == "completed"
    assert again["liveProbe"] == probed["liveProbe"]
    (request,) = stage.model.requests
    assert request.user_message.startswith("MCP LIVE TEST / DO NOT MODIFY FILES")
    assert list(stage.project.iterdir()) == []

    outside = await client.call("codex_preflight_project_run", cwd="/", live_probe=True)
    assert outside["status"] == "not_ready"
    assert len(stage.model.requests) == 1
