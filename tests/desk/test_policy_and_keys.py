"""The ceilings of the settings, and what counts as a resource key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.desk.keys import resource_keys
from codex_control_plane_mcp.desk.policy import options_for
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.schedule import keys_meet
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import Reception, reception


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {"state_db": Path("/s"), "codex_home": Path("/c"), **changes}
    return Settings(**given)


def start(at: Reception, **more: Any) -> Task:
    known: dict[str, Any] = {"message": "mend the till", "cwd": str(at.project), **more}
    return Task(operation_type=OperationType.START_CHAT, **known)


# --- Ceilings -------------------------------------------------------------------------------------


def test_without_ceilings_everything_may_be_asked_for() -> None:
    for sandbox in Sandbox:
        for policy in ApprovalPolicy:
            options = options_for(settings(), sandbox=sandbox, approval_policy=policy)
            assert (options.sandbox, options.approval_policy) == (sandbox, policy)


def test_a_sandbox_above_the_ceiling_is_refused_and_the_ceiling_named() -> None:
    low = settings(max_sandbox="workspace-write")
    assert options_for(low, sandbox=Sandbox.WORKSPACE_WRITE).sandbox is Sandbox.WORKSPACE_WRITE
    with pytest.raises(InvalidArgument) as refused:
        options_for(low, sandbox=Sandbox.DANGER_FULL_ACCESS)
    assert refused.value.message == (
        "sandbox danger-full-access is not allowed here: CODEX_MCP_MAX_SANDBOX allows read-only, "
        "workspace-write"
    )
    assert refused.value.details == {
        "field": "sandbox",
        "ceiling": "CODEX_MCP_MAX_SANDBOX",
        "allowed": ["read-only", "workspace-write"],
    }


def test_an_approval_policy_that_is_not_on_the_list_is_refused_and_the_list_named() -> None:
    asked = settings(allowed_approval_policies=("untrusted", "on-request"))
    assert options_for(asked).approval_policy is ApprovalPolicy.ON_REQUEST
    with pytest.raises(InvalidArgument, match="ALLOWED_APPROVAL_POLICIES allows untrusted, on-req"):
        options_for(asked, approval_policy=ApprovalPolicy.NEVER)


async def test_no_task_gets_past_the_ceilings_and_nothing_is_stored(tmp_path: Path) -> None:
    ceilings: dict[str, Any] = {
        "max_sandbox": "read-only",
        "allowed_approval_policies": ("on-request",),
    }
    with reception(tmp_path, **ceilings) as at:
        for more in (
            {"sandbox": Sandbox.WORKSPACE_WRITE},
            {"approval_policy": ApprovalPolicy.NEVER},
        ):
            with pytest.raises(InvalidArgument, match="is not allowed here"):
                await at.desk.submit(start(at, **more))
        assert await at.book.read(lookup.unfinished) == []


# --- Resource keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ([], ()),
        (["src"], ("src",)),
        (["src/", "docs", "src"], ("docs", "src")),
        (["./src/./api/"], ("src/api",)),
        (["a b/ü"], ("a b/ü",)),
        (["u\N{COMBINING DIAERESIS}"], ("\N{LATIN SMALL LETTER U WITH DIAERESIS}",)),
        ([""], ("",)),
        (["/", ".", "./"], ("",)),
        (["..."], ("...",)),
    ],
)
def test_a_key_is_compared_in_one_form(given: list[str], normal: tuple[str, ...]) -> None:
    assert resource_keys(given) == normal


@pytest.mark.parametrize(
    "bad",
    [
        "/src",
        "//",
        "C:/src",
        "..",
        "src/../etc",
        "src//api",
        "src\\api",
        "a\0b",
        "a\ud800b",
        "x" * 201,
    ],
)
async def test_what_is_no_path_within_a_project_is_refused_and_nothing_is_stored(
    at: Reception, bad: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await at.desk.submit(start(at, resource_keys=("src", bad)))
    assert refused.value.details["field"] == "resource_keys"
    assert await at.book.read(lookup.unfinished) == []


def test_more_keys_than_anybody_needs_are_refused() -> None:
    assert len(resource_keys([f"k{n}" for n in range(32)])) == 32
    with pytest.raises(InvalidArgument, match="there are 33"):
        resource_keys(["k"] * 33)


@given(keys=st.lists(st.text("ab./", max_size=6), max_size=4))
def test_a_key_once_normal_stays_as_it_is_and_meets_itself(keys: list[str]) -> None:
    try:
        normal = resource_keys(keys)
    except InvalidArgument:
        return
    assert resource_keys(normal) == normal
    assert keys_meet(normal, normal) is bool(normal)
    assert all(keys_meet([""], [key]) for key in normal)


async def test_keys_are_stored_and_part_of_the_payload(at: Reception) -> None:
    first = await at.desk.submit(start(at, client_request_id="r", resource_keys=("src/", "docs")))
    again = await at.desk.submit(start(at, client_request_id="r", resource_keys=("docs", "src")))
    assert (again.operation_id, again.idempotent) == (first.operation_id, True)
    (operation,) = await at.book.read(lookup.unfinished)
    assert operation.resource_keys == ("docs", "src")


async def test_steering_has_no_keys_of_its_own(at: Reception) -> None:
    task = Task(
        operation_type=OperationType.STEER_TURN,
        message="faster",
        thread_id="t-1",
        expected_turn_id="u-1",
        cwd=str(at.project),
        resource_keys=("src",),
    )
    with pytest.raises(InvalidArgument, match="resource_keys"):
        await at.desk.submit(task)
