"""The history that is told again and again, each time with something else going wrong: a plan, its
execution with an approval, steering in mid-turn, the report."""

from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.request import CollaborationMode, OperationType
from codex_control_plane_mcp.selftest.world import Client

REPORT = "The shop is open."


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
    client.codex.release("door")
    await client.end(executing)


async def _steer(client: Client, executing: str, thread_id: str) -> None:
    """Once the turn waits at the door, say one more thing."""
    running = await client.until(
        client.acknowledged[-1][1],
        lambda view: "door" in client.codex.arrived and view.turn_id is not None,
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
