"""`approve`: have a plan carried out, by somebody who has read it.

At a terminal the plan is shown and the person asked. A script names the plan it means by its hash.
"""

import os
import sys

from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Thing
from codex_control_plane_mcp.doors.cli.client import connected
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import Room, chosen_settings, room_of, to_judge
from codex_control_plane_mcp.doors.cli.sheets import plan
from codex_control_plane_mcp.doors.cli.speaking import PROGRAM, carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on, somebody_is_there, typed_line
from codex_control_plane_mcp.doors.cli.words import at_home, plain
from codex_control_plane_mcp.errors import InvalidArgument


def run(typed: str, plan_hash: str | None, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        with room_of(chosen) as room:
            workflow_id = (await room.find(typed, Thing.WORKFLOW)).id
            agreed = plan_hash
            if agreed is None:
                if as_json or not somebody_is_there():
                    raise InvalidArgument(
                        "nobody can be asked here: name the plan with --plan-hash; "
                        f"`show {workflow_id}` says it"
                    )
                agreed = await _agreed(room, workflow_id)
        if agreed is None:
            sys.stdout.write("Nothing was approved.\n")
            return Exit.WANTS_SOMEBODY
        async with connected(os.environ, chosen.state_db) as server:
            receipt = await server.call(
                "codex_approve_plan", workflow_id=workflow_id, plan_hash=agreed
            )
        if as_json:
            print_json(receipt)
        else:
            _show(receipt)
        return Exit.DONE

    return carried_out(work, as_json=as_json)


async def _agreed(room: Room, workflow_id: str) -> str | None:
    """The hash of the plan that the person said yes to."""
    console = page_on(sys.stdout)
    view = await room.workflow(workflow_id)
    proposed = to_judge(view)
    if proposed is None:
        raise InvalidArgument(f"{workflow_id} has no plan yet: it is {view.phase}")
    terms = await room.wanted(await room.find(workflow_id, Thing.WORKFLOW))
    console.print(*plan(proposed, console), sep="\n")
    if not proposed.valid:
        raise InvalidArgument(
            f"this plan cannot be approved: {workflow_id} is {view.phase}; next: "
            f"{view.next_recommended_action}"
        )
    console.print()
    console.print(
        Text.assemble(
            "It would be carried out in ",
            (at_home(view.cwd), "bold"),
            " with the sandbox ",
            (plain(terms.sandbox or "unknown"), "bold"),
            " and approvals ",
            (plain(terms.approval_policy or "unknown"), "bold"),
            ".",
        )
    )
    console.print("Have exactly this plan carried out? [yes/no]  » ", end="", markup=False)
    typed = await typed_line()
    return proposed.plan_hash if typed and typed.lower() in ("y", "yes") else None


def _show(receipt: dict[str, object]) -> None:
    again = " (it was before)" if receipt.get("idempotent") is True else ""
    id_ = str(receipt["executionOperationId"])
    console = page_on(sys.stdout)
    console.print(Text.assemble(("✓ approved", "green"), again, f"; carried out by {id_}"))
    console.print(Text(f"follow it with  {PROGRAM} watch {receipt['workflowId']}", "dim"))
