"""Many clients at the same moment: one worker, one app-server, one operation for one key."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import pytest

from codex_control_plane_mcp import rendezvous
from tests.e2e.stage import SOON_SECONDS, Client, Result, Stage, gone

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture
async def thirty(stage: Stage) -> AsyncIterator[list[Client]]:
    """Thirty clients, each with a pipe process of its own, that all start at once."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(stage.client()) for _ in range(30)]


async def test_thirty_processes_that_submit_the_same_key_get_one_operation(
    stage: Stage, thirty: list[Client]
) -> None:
    receipts: list[Result] = []

    async def submit(client: Client) -> None:
        receipts.append(
            await client.submit("say once", cwd=str(stage.project), client_request_id="the-key")
        )

    with anyio.fail_after(2 * SOON_SECONDS):
        async with anyio.create_task_group() as tasks:
            for client in thirty:
                tasks.start_soon(submit, client)
    assert len(receipts) == 30
    assert len({receipt["operationId"] for receipt in receipts}) == 1
    assert [receipt["idempotent"] for receipt in receipts].count(False) == 1
    done = await thirty[0].finished(receipts[0]["operationId"])
    assert done["finalReport"]["text"] == "once"
    assert len(stage.model.requests) == 1


async def test_four_cold_starts_at_once_make_one_worker_and_one_app_server(stage: Stage) -> None:
    workers: list[int] = []
    app_servers: list[str] = []

    async def work(number: int) -> None:
        async with stage.client() as client:
            receipt = await client.submit(f"say hello {number}", cwd=str(stage.project))
            done = await client.finished(receipt["operationId"])
            app_servers.append(done["evidence"]["appServer"])
            workers.append((await client.call("codex_health_summary"))["worker"]["pid"])

    with anyio.fail_after(2 * SOON_SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(work, number)
    assert len(set(workers)) == 1
    assert len(set(app_servers)) == 1


async def test_a_newer_release_takes_over_and_the_old_client_notices_a_pause_at_most(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit("hold door\nsay handed over", cwd=str(stage.project))
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    old = stage.worker()

    # A pipe of the next release knocks, as it does after an upgrade.
    descriptor = rendezvous.read_descriptor(str(stage.state_db))
    assert descriptor is not None
    greeting = rendezvous.pipe_greeting(None).replace(b'"version":"', b'"version":"99.')
    async with await anyio.connect_unix(descriptor.path) as knocking:
        await knocking.send(greeting)
        with anyio.fail_after(SOON_SECONDS), pytest.raises(anyio.EndOfStream):
            await knocking.receive()
    await gone(old)

    # The old client goes on with its pipe, which found the next worker.
    still = await client.status(receipt["operationId"])
    assert still["status"] == "running"
    assert stage.worker() != old
    stage.model.release("door")
    done = await client.finished(receipt["operationId"])
    assert done["finalReport"]["text"] == "handed over"
    assert len(await stage.turns(done["threadId"])) == 1
