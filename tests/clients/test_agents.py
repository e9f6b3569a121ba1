"""Hermes and OpenClaw hand work to Codex: the clients, the server and Codex real, the models not.

docs/clients.md holds what came of it, and `make test-clients` runs it.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients.agents import KINDS, Agent, settled

pytestmark = pytest.mark.clients

#: A turn of Codex, beside a client that uses a whole processor.
PATIENCE_SECONDS = 60
#: The start of a client on a busy machine, and a wait of 45 seconds.
LONG_TURN_SECONDS = 300


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    # A short name: the path of a socket may only be a hundred characters long.
    folder = Path(tempfile.mkdtemp(prefix="agent-")).resolve()
    with settled(request.param, folder) as agent:
        yield agent
    shutil.rmtree(folder, ignore_errors=True)


def submit(agent: Agent, key: str, message: str) -> str:
    return agent.call(
        "codex_submit_task",
        operation_type="start_chat",
        project_id="shop",
        client_request_id=key,
        message=message,
    )


def awaited(agent: Agent) -> tuple[str, ...]:
    """Steps from an id to a report that is said."""
    return (
        agent.call("codex_wait", operation_ids=["${operationId}"], wait_seconds=45),
        agent.call("codex_get_operation_status", operation_id="${operationId}", wait_seconds=45),
        "say Codex says: ${finalReport.text}",
    )


def operations(agent: Agent) -> set[str]:
    return set(re.findall(r"\bop_\w+", "\n".join(agent.results())))


def prompts(agent: Agent, text: str) -> int:
    """How often Codex has asked its model with this text."""
    return sum(text in request.user_message for request in agent.codex.requests)


def test_an_agent_delegates_a_task_waits_and_says_its_report(agent: Agent) -> None:
    said = agent.turn(submit(agent, "first", "say There are 42 files."), *awaited(agent))

    assert "Codex says: There are 42 files." in said
    assert prompts(agent, "42 files") == 1


def test_a_task_outlives_the_agent_and_the_next_run_reads_it(agent: Agent) -> None:
    task = submit(agent, "second", "hold gate\nsay Found on line 7.")
    assert "Handed over." in agent.turn(task, "say Handed over.")
    # The client's process has ended, and with it the server's pipe; now Codex goes on.
    (operation,) = operations(agent)
    agent.codex.arrived("gate").wait(PATIENCE_SECONDS)
    agent.codex.release("gate")
    agent.admin("watch", operation, "--timeout", str(PATIENCE_SECONDS))

    said = agent.turn(task, *awaited(agent))

    assert "Codex says: Found on line 7." in said
    assert operations(agent) == {operation}
    assert prompts(agent, "line 7") == 1


def test_an_agent_that_gave_up_a_wait_comes_back_and_waits_as_long_as_it_takes(
    agent: Agent,
) -> None:
    task = submit(agent, "third", "hold late\nsay Found at last.")
    wait = agent.call("codex_wait", operation_ids=["${operationId}"], wait_seconds=45)
    look = agent.call("codex_get_operation_status", operation_id="${operationId}")
    with agent.hurried(5):
        said = agent.turn(task, wait, look, "say It is ${status}.")
    assert "It is running." in said
    assert "timed out" in agent.results()[1]
    (operation,) = operations(agent)

    with ThreadPoolExecutor(1) as beside:
        turn = beside.submit(agent.turn, task, wait, "hold waited", *awaited(agent))
        agent.model.arrived("waited").wait(LONG_TURN_SECONDS)
        assert re.search(r"timedOut\W+true", agent.results()[1])
        agent.codex.release("late")
        agent.model.release("waited")
        assert "Codex says: Found at last." in turn.result()
    assert operations(agent) == {operation}
    assert prompts(agent, "at last") == 1
