"""`cancel`: end a task or a workflow; what was done stays."""

import os
import sys

from codex_control_plane_mcp.desk.lookup import Thing
from codex_control_plane_mcp.doors.cli.client import connected
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.words import state_name


def run(typed: str, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        with room_of(chosen) as room:
            found = await room.find(typed, Thing.OPERATION, Thing.WORKFLOW)
        name = "operation_id" if found.thing is Thing.OPERATION else "workflow_id"
        async with connected(os.environ, chosen.state_db) as server:
            receipt = await server.call("codex_interrupt_turn", **{name: found.id})
        if as_json:
            print_json(receipt)
        else:
            sys.stdout.write(_in_words(receipt))
        return Exit.DONE if receipt["changed"] else Exit.REFUSED

    return carried_out(work, as_json=as_json)


def _in_words(receipt: dict[str, object]) -> str:
    state, id_ = state_name(str(receipt["status"])), receipt["operationId"]
    if not receipt["changed"]:
        return f"{id_} had ended before: {state}\n"
    return f"{id_} {'has ended' if receipt['ended'] else 'is ending'}: {state}\n"
