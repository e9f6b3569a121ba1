"""What Codex offers, asked all at once: each call may fail, hang or be unknown by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.codex.inventory import (
    NOT_LOGGED_IN,
    HookCounts,
    Inventory,
    Outcome,
    Wanted,
    take,
)
from codex_control_plane_mcp.codex.words.things import RateLimitWindow
from codex_control_plane_mcp.rpc.values import JsonObject
from tests.codex.test_session import HELLO, Reply, error, hang_up, result, silence, talking

SECONDS = 5.0

CHATGPT: JsonObject = {
    "account": {"type": "chatgpt", "email": "anna@example.org", "planType": "plus"},
    "requiresOpenaiAuth": True,
}
LIMITS: JsonObject = {
    "rateLimits": {
        "primary": {"usedPercent": 12, "windowDurationMins": 300, "resetsAt": 1_800_000_000},
        "secondary": None,
        "credits": {"hasCredits": True, "unlimited": False, "balance": "17.20"},
    }
}
HOOKS: JsonObject = {
    "data": [
        {
            "cwd": "/project",
            "hooks": [
                {"key": "a", "command": "sh -c secret", "trustStatus": "trusted", "enabled": True},
                {"key": "b", "command": "b", "trustStatus": "untrusted", "enabled": True},
                {"key": "c", "command": "c", "trustStatus": "managed", "enabled": False},
            ],
        }
    ]
}
SKILLS: JsonObject = {
    "data": [{"skills": [{"path": "/a", "enabled": True}, {"path": "/b", "enabled": False}]}]
}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@asynccontextmanager
async def answered(wanted: Wanted | None = None, **other: Reply) -> AsyncIterator[Inventory]:
    """The inventory of an app-server that answers all that `other` does not spoil."""
    replies: dict[str, Reply] = {
        "model_list": result({"data": [{"id": "m", "isDefault": True}]}),
        "permissionProfile_list": result({"data": [{"id": ":workspace", "allowed": False}]}),
        "configRequirements_read": result({"requirements": {"allowedSandboxModes": ["read-only"]}}),
        "modelProvider_capabilities_read": result({"webSearch": True}),
        "hooks_list": result(HOOKS),
        "skills_list": result(SKILLS),
        "command_exec": result({"exitCode": 0, "stdout": "", "stderr": ""}),
        "account_read": result(CHATGPT),
        "account_rateLimits_read": result(LIMITS),
    }
    async with talking(None, **(replies | other)) as (session, _):
        yield await take(session, wanted or Wanted(), SECONDS)


async def test_everything_is_asked_and_nobody_is_named() -> None:
    async with answered() as found:
        assert {one.status for one in found.outcomes.values()} == {"ok"}
        assert [model.id for model in found.models or ()] == ["m"]
        assert found.hooks == HookCounts(total=3, running=1)
        assert found.skill_count == 1
        assert found.requirements is not None
        assert found.requirements.sandbox_modes == ("read-only",)
        assert found.requirements.approval_policies is None
        assert found.rate_limits == (RateLimitWindow("primary", 12, 300, 1_800_000_000),)
        for secret in ("anna", "17.20", "sh -c"):
            assert secret not in repr(found)


async def test_one_that_hangs_costs_its_own_answer_and_no_more_than_the_time() -> None:
    began = anyio.current_time()
    async with answered(hooks_list=silence) as found:
        assert anyio.current_time() - began == SECONDS
        assert found.outcomes["hooks/list"] == Outcome("timeout", 5000, "CODEX_TIMEOUT")
        assert found.hooks is None
        assert found.models is not None
        others = {one.status for method, one in found.outcomes.items() if method != "hooks/list"}
        assert others == {"ok"}


async def test_refused_and_unknown_methods_and_odd_answers_are_told_apart() -> None:
    async with answered(
        model_list=error(-32603, "boom"),
        skills_list=error(-32600, "Invalid request: unknown variant `skills/list`"),
        modelProvider_capabilities_read=result([]),
    ) as found:
        told = {method: (one.status, one.error_code) for method, one in found.outcomes.items()}
        assert told["model/list"] == ("error", "-32603")
        assert told["skills/list"] == ("unsupported", "-32600")
        assert told["modelProvider/capabilities/read"] == ("error", "UNREADABLE_ANSWER")
        assert (found.models, found.skill_count, found.provider) == (None, None, None)


async def test_a_line_that_drops_ends_what_is_asked_at_once() -> None:
    began = anyio.current_time()
    async with answered(skills_list=hang_up, hooks_list=silence) as found:
        assert anyio.current_time() - began < SECONDS
        assert found.outcomes["hooks/list"].error_code == "CODEX_APP_SERVER_UNAVAILABLE"


@pytest.mark.parametrize("account", [None, {"type": "apiKey"}])
async def test_rate_limits_are_asked_for_only_where_there_are_some(account: Any) -> None:
    async with answered(
        account_read=result({"account": account, "requiresOpenaiAuth": True}),
        account_rateLimits_read=error(-32600, "authentication required"),
    ) as found:
        limits = found.outcomes["account/rateLimits/read"]
        assert (limits.status, limits.error_code) == ("skipped", NOT_LOGGED_IN)
        assert found.rate_limits is None


async def test_what_is_not_wanted_is_not_asked() -> None:
    nothing = Wanted(models=False, hooks=False, skills=False, account=False)
    async with answered(nothing) as found:
        assert set(found.outcomes) == {
            "permissionProfile/list",
            "configRequirements/read",
            "modelProvider/capabilities/read",
            "command/exec",
        }


@pytest.mark.parametrize(
    ("ended", "problem"),
    [
        ({"exitCode": 1, "stderr": "bwrap: No\n"}, "bwrap: No"),
        ({"exitCode": 7, "stderr": ""}, "a command that does nothing ended with 7"),
        ({"stderr": ""}, "a command that does nothing ended with None"),
    ],
)
async def test_a_sandbox_in_which_nothing_can_be_run_is_unavailable(
    ended: dict[str, Any], problem: str
) -> None:
    async with answered(command_exec=result(ended)) as found:
        assert (found.sandbox_readiness, found.sandbox_problem) == ("unavailable", problem)


@pytest.mark.parametrize(
    ("platform", "readiness"), [("linux", "ready"), ("windows", "updateRequired")]
)
async def test_the_windows_sandbox_is_asked_about_and_others_are_tried(
    platform: str, readiness: str
) -> None:
    async with answered(
        initialize=result({**HELLO, "platformOs": platform}),
        windowsSandbox_readiness=result({"status": "updateRequired"}),
    ) as found:
        assert found.sandbox_readiness == readiness
        on_windows = platform == "windows"
        assert ("windowsSandbox/readiness" in found.outcomes) is on_windows
        assert ("command/exec" in found.outcomes) is not on_windows
