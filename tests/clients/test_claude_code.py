"""Claude Code uses our server in full: printing one answer, and with a person at a terminal."""

import json

import anyio
import pytest

from codex_control_plane_mcp.doors.mcp.tools import offered
from tests.clients.claude_code import PREFIX, ClaudeCode, claude_code
from tests.clients.terminal import Terminal

pytestmark = [pytest.mark.clients, pytest.mark.anyio]

RIGHT, ENTER = "\x1b[C", "\r"

WAIT = """\
call codex_wait {"operation_ids": ["${operationId}"], "wait_seconds": 45}"""
LOOK = """\
call codex_get_operation_status {"operation_id": "${operationId}"}
say Codex says: ${finalReport.text}"""


def hand_over(claude: ClaudeCode, message: str) -> str:
    """Steps of its model: a task for us, and then the hold of that name."""
    task = {"operation_type": "start_chat", "message": message, "cwd": str(claude.stage.project)}
    # Claude Code does not wait for a server: its first request may have none of our tools.
    return f"call WaitForMcpServers\ncall codex_submit_task {json.dumps(task)}\nhold handed-over"


async def prompted(terminal: Terminal, prompt: str) -> None:
    """A person pastes a prompt, and sends it when it is there."""
    await terminal.types(prompt)
    await terminal.shows(prompt.splitlines()[-1])
    await terminal.types(ENTER)


async def test_printing_it_hands_over_a_task_waits_and_reads_the_report() -> None:
    async with claude_code() as claude, claude.stage.client() as we:
        model = claude.stage.model
        steps = hand_over(claude, "hold oven\nsay The bread is done.")
        said = {}

        async def prints() -> None:
            said.update(await claude.prints(f"Have it baked.\n{steps}\n{WAIT}\n{LOOK}"))

        async with anyio.create_task_group() as group:
            group.start_soon(prints)
            operation_id = await claude.handed_over()
            await we.until(operation_id, "running")
            model.release("handed-over")
            model.release("oven")
        assert said["result"] == "Codex says: The bread is done."
        assert said["permission_denials"] == []

        sizes = model.requests[-1].tool_bytes
        ours = {name: size for name, size in sizes.items() if name.startswith(PREFIX)}
        # All of our tools are in its model's context.
        assert len(ours) > 30
        assert sum(ours.values()) < 30_000


async def test_with_tool_search_what_each_task_needs_is_at_hand_and_the_rest_is_found() -> None:
    async with claude_code(ENABLE_TOOL_SEARCH="true") as claude, claude.stage.client() as we:
        await we.call("codex_health_summary")  # The worker is up before Claude Code looks.
        search = {"query": f"select:{PREFIX}codex_health_summary"}
        said = await claude.prints(
            f"How is it?\ncall ToolSearch {json.dumps(search)}\n"
            "call codex_list_pending_interactions\ncall codex_health_summary\n"
            "say It is ${overallStatus}."
        )
        assert said["result"] == "It is healthy."
        at_hand = {f"{PREFIX}{tool.name}" for tool in offered(("core",)).tools}
        listed = [set(one.tools) for one in claude.stage.model.requests]
        assert "ToolSearch" in listed[0]
        theirs = {name for name in listed[-1] if name.startswith(PREFIX)}
        assert theirs == at_hand | {f"{PREFIX}codex_health_summary"}


async def test_a_task_that_ends_while_it_idles_is_there_when_the_person_asks() -> None:
    async with claude_code() as claude, claude.stage.client() as we:
        model = claude.stage.model
        model.release("handed-over")
        async with claude.at_a_terminal() as terminal:
            steps = hand_over(claude, "hold oven\nsay The bread is done.")
            await prompted(terminal, f"Have it baked.\n{steps}\nsay It is in the oven.")
            await terminal.shows("● It is in the oven.")

            model.release("oven")
            await we.finished(await claude.handed_over())
            await prompted(terminal, f"Is it done?\n{LOOK}")
            await terminal.shows("● Codex says: The bread is done.")


async def test_an_approval_is_a_form_at_the_terminal_and_accepting_it_runs_the_command() -> None:
    async with claude_code() as claude, claude.stage.client() as we:
        async with claude.at_a_terminal() as terminal:
            sale = (
                "run! printf sold > ledger.txt # because the sale must be written down\nsay Sold."
            )
            await prompted(
                terminal, f"Sell it.\n{hand_over(claude, sale)}\n{WAIT}\nsay It is ${{status}}."
            )
            operation_id = await claude.handed_over()
            await we.asked(operation_id)
            claude.stage.model.release("handed-over")

            await terminal.shows("requests your input", "the sale must be written down", "not set")
            await terminal.types(RIGHT)
            await terminal.shows("◯ accept")
            await terminal.types(ENTER)
            await terminal.shows("✔ decision: accept")
            await terminal.types(ENTER)
            await terminal.shows("● It is completed.")
        done = await we.finished(operation_id)
        assert done["finalReport"]["text"] == "Sold."
        assert (claude.stage.project / "ledger.txt").read_text() == "sold"
