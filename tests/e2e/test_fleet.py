"""Two hosts with a Codex home each share one queue: on the real binary, killed and cut off."""

import anyio
import pytest

from tests.e2e.fleet import LIMIT, chaos, fleet_of

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


async def test_whatever_is_killed_nothing_is_lost_or_doubled_and_no_limit_is_passed(
    postgres_url: str,
) -> None:
    with anyio.fail_after(240):
        async with fleet_of(postgres_url, "east", "west") as fleet:
            verdict = await chaos(fleet, kills=12, seed=1)
    assert verdict["lost"] == verdict["doubled"] == 0, verdict
    assert verdict["threads"], verdict
    assert fleet.most_active <= LIMIT
