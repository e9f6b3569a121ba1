"""Two hosts with a Codex home each share one queue: on the real binary, killed and cut off."""

import anyio
import pytest

from tests.e2e.fleet import LIMIT, chaos, fleet_of
from tests.repositories import git, make_repository

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.usefixtures("where_postgres_runs")]


async def test_two_hosts_share_a_queue_and_their_people(postgres_url: str) -> None:
    """A thread goes on where it lives; an answer and an interruption reach it from anywhere."""
    with anyio.fail_after(180):
        async with (
            fleet_of(postgres_url, "east", "west", capacity=1) as fleet,
            fleet.hosts["east"].client() as east,
            fleet.hosts["west"].client() as west,
        ):
            project = str(fleet.hosts["east"].project)

            async def submit(at: object, message: str, **given: object) -> str:
                submitted = await at.call(  # type: ignore[attr-defined]
                    "codex_submit_task", message=message, project_id=project, **given
                )
                return str(submitted["operationId"])

            asking = await submit(
                east, "Ask.\nrun! echo hi # it must be\nsay Asked.", operation_type="start_chat"
            )
            hanging = await submit(east, "Hang.\nsay One.\nhang", operation_type="start_chat")
            question = await west.asked(asking)
            ran = await west.until(hanging, "running")
            # Each has room for one: they are on two hosts.
            owners = {}
            for operation_id, at in ((asking, east), (hanging, east)):
                seen = await at.call("codex_get_operation_status", operation_id=operation_id)
                owners[operation_id] = seen["evidence"]["host"]
            assert set(owners.values()) == {"east", "west"}
            # Given at the one host and at the other, one of the two is not the owner's.
            await west.answer(question, decision="accept")
            asked = await east.finished(asking)
            assert asked["status"] == "completed"
            await east.call("codex_interrupt_turn", operation_id=hanging)
            assert (await west.finished(hanging))["status"] == "interrupted"
            for at in (east, west):
                more = await submit(
                    at,
                    "More.\nsay More.",
                    operation_type="send_message",
                    thread_id=asked["threadId"],
                )
                done = await at.finished(more)
                assert (done["status"], done["threadId"]) == ("completed", asked["threadId"])
                assert done["evidence"]["host"] == owners[asking]
            assert ran["status"] == "running"


async def test_a_repository_is_worked_in_on_the_host_that_is_asked_for_where_that_has_it(
    postgres_url: str,
) -> None:
    """Two checkouts at different paths; one host has a label. Asked is always the other one."""
    with anyio.fail_after(180):
        async with fleet_of(postgres_url, "east", "west", own_projects=True, west="gpu") as fleet:
            for name, origin in (
                ("east", "https://git.example/team/till.git"),
                ("west", "git@git.example:team/till"),
            ):
                checkout = fleet.hosts[name].project
                if not (checkout / ".git").exists():
                    make_repository(checkout)
                git(checkout, "remote", "add", "origin", origin)
            theirs, ours = (str(fleet.hosts[name].project) for name in ("east", "west"))
            async with fleet.hosts["east"].client() as east, fleet.hosts["west"].client() as west:
                thread = ""
                for asked in ({"host_labels": ["gpu"]}, {"host": "west"}):
                    task = await east.call(
                        "codex_submit_task",
                        operation_type="start_chat",
                        message=f"Where {asked}.\nrun pwd\nsay There.",
                        project_id=theirs,
                        **asked,
                    )
                    done = await east.finished(task["operationId"])
                    assert (done["status"], done["evidence"]["host"]) == ("completed", "west")
                    assert done["cwd"] == ours
                    thread = done["threadId"]
                chat = await west.call("codex_get_chat", chat_id=thread, include_tool_calls=True)
                assert ours in str(chat["messages"])
                for client in (east, west):
                    more = await client.call(
                        "codex_submit_task",
                        operation_type="send_message",
                        message="More.\nsay More.",
                        thread_id=thread,
                    )
                    ended = await client.finished(more["operationId"])
                    assert (ended["status"], ended["cwd"]) == ("completed", ours)
                plan = await east.call(
                    "codex_start_plan_workflow",
                    project_id=theirs,
                    host="west",
                    message="Plan.\nplan # The till\nsay Planned.",
                )
                workflow = plan["workflowId"]
                await east.finished(plan["planOperationId"])
                approved = await east.call("codex_approve_plan", workflow_id=workflow)
                ended = await west.finished(approved["executionOperationId"])
                assert (ended["evidence"]["host"], ended["cwd"]) == ("west", ours)
                nowhere = await east.call(
                    "codex_submit_task",
                    operation_type="start_chat",
                    message="Nowhere.",
                    project_id=theirs,
                    host_labels=["mac"],
                )
                assert nowhere["queueState"]["reason"] == "no host has the label mac"


async def test_whatever_is_killed_nothing_is_lost_or_doubled_and_no_limit_is_passed(
    postgres_url: str,
) -> None:
    with anyio.fail_after(240):
        async with fleet_of(postgres_url, "east", "west") as fleet:
            verdict = await chaos(fleet, kills=12, seed=1)
    assert verdict["lost"] == verdict["doubled"] == 0, verdict
    assert verdict["threads"], verdict
    assert fleet.most_active <= LIMIT
