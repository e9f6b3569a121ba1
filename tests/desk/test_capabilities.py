"""What Codex offers, as the desk remembers and shows it."""

from __future__ import annotations

import pytest

from codex_control_plane_mcp.codex.contract import Methods
from codex_control_plane_mcp.codex.inventory import HookCounts, Inventory, Outcome, Wanted
from codex_control_plane_mcp.codex.words.things import Account, RateLimitWindow
from codex_control_plane_mcp.desk.capabilities import FRESH_SECONDS, REMEMBERED, Asked
from codex_control_plane_mcp.desk.health import Scope
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexWord
from codex_control_plane_mcp.errors import InvalidArgument
from tests.desk.reception import Reception

OK = Outcome("ok", 3)
HUNG = Outcome("timeout", 10_000, "CODEX_TIMEOUT")


def word(**outcomes: Outcome) -> CodexWord:
    return CodexWord(
        version="0.163.0",
        methods=Methods(172, "abc"),
        inventory=Inventory(
            outcomes={"model/list": OK, **outcomes},
            models=(),
            hooks=HookCounts(3, 1),
            skill_count=5,
            account=Account("chatgpt", "plus", requires_openai_auth=True),
            rate_limits=(RateLimitWindow("primary", 12, 300, 1_800_000_000),),
        ),
    )


@pytest.fixture
def running(at: Reception) -> Reception:
    at.runtime.state = AppServerState(running=True, version="0.163.0")
    at.runtime.word = word()
    return at


async def test_an_idle_codex_is_not_started_unless_it_is_said(at: Reception) -> None:
    at.runtime.word = word()
    idle = await at.desk.capabilities(Asked())
    assert idle.runtime_capabilities.status == "unavailable"
    assert idle.cache_state == "none"
    assert "refresh: true" in idle.warnings[0]

    asked = await at.desk.capabilities(Asked(refresh=True, timeout_seconds=7))
    assert asked.runtime_capabilities.status == "ok"
    assert asked.cache_state == "fresh"
    assert at.runtime.asked == [(Wanted(), 10.0, False), (Wanted(), 7, True)]


async def test_an_answer_is_remembered_for_five_minutes(running: Reception) -> None:
    first = await running.desk.capabilities(Asked())
    running.clock.at += round((FRESH_SECONDS - 1) * 1000)
    again = await running.desk.capabilities(Asked())
    assert again.runtime_capabilities == first.runtime_capabilities
    assert again.cache_state == "cached"
    assert len(running.runtime.asked) == 1

    running.clock.at += 1000
    assert (await running.desk.capabilities(Asked())).cache_state == "fresh"


async def test_refresh_asks_whatever_is_remembered(running: Reception) -> None:
    await running.desk.capabilities(Asked())
    assert (await running.desk.capabilities(Asked(refresh=True))).cache_state == "fresh"


async def test_another_question_has_another_answer(running: Reception) -> None:
    await running.desk.capabilities(Asked())
    other = Asked(wanted=Wanted(account=False))
    assert (await running.desk.capabilities(other)).cache_state == "fresh"
    assert (await running.desk.capabilities(other)).cache_state == "cached"
    assert (await running.desk.capabilities(Asked())).cache_state == "cached"


async def test_only_so_many_answers_are_remembered(running: Reception) -> None:
    await running.desk.capabilities(Asked())
    for number in range(REMEMBERED):
        folder = running.project / str(number)
        folder.mkdir()
        await running.desk.capabilities(Asked(wanted=Wanted(cwd=str(folder))))
    assert (await running.desk.capabilities(Asked())).cache_state == "fresh"


async def test_an_old_answer_is_better_than_none_and_is_called_old(running: Reception) -> None:
    first = await running.desk.capabilities(Asked())
    running.clock.at += round(FRESH_SECONDS * 1000)
    running.runtime.state = AppServerState(running=False)
    old = await running.desk.capabilities(Asked())
    assert old.cache_state == "stale"
    assert old.runtime_capabilities.generated_at == first.runtime_capabilities.generated_at


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ({}, "ok"),
        ({"hooks/list": Outcome("unsupported", 1, "-32600")}, "ok"),
        ({"account/rateLimits/read": Outcome("skipped", 1, "NOT_LOGGED_IN")}, "ok"),
        ({"hooks/list": HUNG}, "partial"),
        ({"hooks/list": HUNG, "model/list": HUNG}, "unavailable"),
    ],
)
async def test_the_status_says_how_much_was_answered(
    running: Reception, outcomes: dict[str, Outcome], status: str
) -> None:
    running.runtime.word = word(**outcomes)
    shown = await running.desk.capabilities(Asked())
    assert shown.runtime_capabilities.status == status
    failed = [method for method, one in outcomes.items() if one is HUNG]
    assert sorted(shown.warnings) == sorted(f"{one} did not answer in time" for one in failed)


async def test_hooks_and_skills_are_counted_and_the_account_has_no_name(running: Reception) -> None:
    found = (await running.desk.capabilities(Asked())).runtime_capabilities
    assert found.hooks is not None
    assert (found.hooks.total, found.hooks.running) == (3, 1)
    assert found.skills is not None
    assert found.skills.enabled == 5
    assert found.account_status is not None
    assert (found.account_status.logged_in, found.account_status.plan_type) == (True, "plus")
    assert found.rate_limits is not None
    assert found.rate_limits[0].resets_at == 1_800_000_000_000
    assert found.schema_methods.source == "generate-json-schema"
    assert found.schema_methods.method_count == 172


async def test_health_shows_the_last_answer_in_short(running: Reception) -> None:
    assert (await running.desk.health(Scope())).runtime_capabilities is None
    await running.desk.capabilities(Asked())
    brief = (await running.desk.health(Scope())).runtime_capabilities
    assert brief is not None
    assert (brief.status, brief.model_count, brief.logged_in) == ("ok", 0, True)
    assert len(running.runtime.asked) == 1


async def test_a_folder_outside_the_roots_is_not_asked_about(running: Reception) -> None:
    with pytest.raises(InvalidArgument, match="outside"):
        await running.desk.capabilities(Asked(wanted=Wanted(cwd="/")))
    assert running.runtime.asked == []
