"""The histories that are told again and again, each time with something else going wrong."""

from collections.abc import Awaitable, Callable

import anyio

from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views import InteractionView
from codex_control_plane_mcp.errors import IdempotencyMismatch, InteractionUnavailable
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    CollaborationMode,
    CompactThread,
    OperationType,
    UnarchiveThread,
)
from codex_control_plane_mcp.selftest.history import Breach
from codex_control_plane_mcp.selftest.world import Client

REPORT = "The shop is open."
#: Longer than a new worker waits for questions to be asked again.
WORK_SECONDS = 20.0


async def plan_and_execute(client: Client) -> None:
    """A plan is made, approved by going on, executed with an approval and steered."""
    planning = await client.submit(
        Task(
            operation_type=OperationType.START_CHAT,
            message="Plan the opening.\nplan # Open\\n\\n1. Unlock the door",
            cwd=str(client.world.project),
            client_request_id="plan",
            collaboration_mode=CollaborationMode.PLAN,
            title="The opening",
        )
    )
    planned = await client.end(planning)
    if planned.thread_id is None or planned.status is not Status.COMPLETED:
        return  # Codex died over it; the history is checked for what it is.
    executing = await client.submit(
        Task(
            operation_type=OperationType.SEND_MESSAGE,
            message=(
                "Execute it.\nstream 40 words\nrun! unlock # because it is locked\n"
                f"hold door\nsay {REPORT}"
            ),
            thread_id=planned.thread_id,
            client_request_id="execute",
        )
    )
    if (question := await client.question(executing)) is not None:
        await client.answer(question, decision="accept")
    await _steer(client, executing, planned.thread_id)
    await anyio.sleep(WORK_SECONDS)
    client.codex.release("door")
    await client.end(executing)


async def _steer(client: Client, executing: OperationId, thread_id: str) -> None:
    """Once the turn waits at the door, say one more thing."""
    running = await client.until(
        executing, lambda view: "door" in client.codex.arrived and view.turn_id is not None
    )
    if running.turn_id is None or running.status is not Status.RUNNING:
        return
    steering = await client.submit(
        Task(
            operation_type=OperationType.STEER_TURN,
            message="Mind the step.",
            thread_id=thread_id,
            expected_turn_id=running.turn_id,
            client_request_id="steer",
        )
    )
    await client.end(steering)


async def ask_and_refuse(client: Client) -> None:
    """Two conversations side by side: one asks people something, one wants what it does not get.
    The client repeats itself, contradicts itself, and must not get away with the latter."""
    door = _chat(
        client, "door", "Open one.\nsay Well.\nask Which door? | left: L | right: R\nsay Opened."
    )
    asking = await client.submit(door)
    await client.submit(door)
    await client.expects(
        IdempotencyMismatch,
        lambda: client.submit(_chat(client, "door", "Open none.")),
        Breach("I2", "the key of one task was taken for another task"),
    )
    wishing = await client.submit(_chat(client, "burn", "Burn it.\nrun! burn # it is cold"))
    if (question := await client.question(asking)) is not None:
        await client.answer(question, answers={"question-1": "left"})
        await _contradict(client, question)
    if (question := await client.question(wishing)) is not None:
        await client.answer(question, decision="cancel")
    await client.end(asking)
    await client.end(wishing)


async def _contradict(client: Client, question: InteractionView) -> None:
    await client.expects(
        InteractionUnavailable,
        lambda: client.answer_as("another", question, {"answers": {"question-1": "right"}}),
        Breach("I4", "one question took two answers"),
    )


async def interrupt_and_fail(client: Client) -> None:
    """One task is interrupted in mid-turn, one while it waits behind it, and one fails."""
    hanging = await client.submit(_chat(client, "hang", "Wait.\nsay Waiting.\nhang", writes=True))
    await client.until(
        hanging, lambda view: "hang" in client.codex.arrived and view.turn_id is not None
    )
    waiting = await client.submit(_chat(client, "wait", "Never.\nsay No.", writes=True))
    await client.interrupt(waiting)
    await client.interrupt(hanging)
    await client.end(hanging)
    await client.end(waiting)
    failing = await client.submit(_chat(client, "fail", "Fail.\nfail 500 boom It broke."))
    await client.end(failing)


async def fork_and_file(client: Client) -> None:
    """A thread is forked with words and without, compacted, put away and brought back."""
    first = await client.end(await client.submit(_chat(client, "first", "Begin.\nsay Begun.")))
    if first.thread_id is None or first.status is not Status.COMPLETED:
        return
    forking = await client.submit(_fork("fork", first.thread_id, "Branch off.\nsay Branched."))
    bare = await client.submit(_fork("bare", first.thread_id, ""))
    await client.end(forking)
    await client.end(bare)
    for action in (CompactThread, ArchiveThread, UnarchiveThread):
        await client.act(action, first.thread_id)


def _fork(key: str, source_thread_id: str, message: str) -> Task:
    return Task(
        operation_type=OperationType.FORK_THREAD,
        message=message,
        source_thread_id=source_thread_id,
        client_request_id=key,
    )


def _chat(client: Client, key: str, message: str, *, writes: bool = False) -> Task:
    return Task(
        operation_type=OperationType.START_CHAT,
        message=message,
        cwd=str(client.world.project),
        client_request_id=key,
        sandbox=Sandbox.WORKSPACE_WRITE if writes else Sandbox.READ_ONLY,
    )


#: By the name that cases call them.
SCENARIOS: dict[str, Callable[[Client], Awaitable[None]]] = {
    "plan": plan_and_execute,
    "talk": ask_and_refuse,
    "stop": interrupt_and_fail,
    "threads": fork_and_file,
}
