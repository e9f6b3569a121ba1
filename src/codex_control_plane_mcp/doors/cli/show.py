"""`show`: all that is known of one task or workflow."""

import sys

from codex_control_plane_mcp.desk.lookup import Found, Thing
from codex_control_plane_mcp.desk.views import OperationView
from codex_control_plane_mcp.desk.workflows.views import WorkflowView
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import Room, chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.sheets import operation_sheet, workflow_sheet
from codex_control_plane_mcp.doors.cli.speaking import carried_out, document, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.shape import Json


def run(typed: str, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        with room_of(chosen_settings(state_db)) as room:
            found = await room.find(typed, Thing.OPERATION, Thing.WORKFLOW)
            if as_json:
                print_json(await told(room, found))
            else:
                await show(room, found)
        return Exit.DONE

    return carried_out(work, as_json=as_json)


async def told(room: Room, found: Found) -> Json:
    """The document of a task: what its status tool shows, whole, and what was asked for."""
    view = await view_of(room, found)
    wanted = await room.wanted(found)
    return document(view, title=wanted.title, message=wanted.message)


async def show(room: Room, found: Found) -> None:
    console, now = page_on(sys.stdout), room.now()
    wanted = await room.wanted(found)
    if found.thing is Thing.WORKFLOW:
        console.print(workflow_sheet(await room.workflow(found.id), wanted, now, console))
    else:
        console.print(operation_sheet(await room.operation(found.id), wanted, now, console))


async def view_of(room: Room, found: Found) -> OperationView | WorkflowView:
    if found.thing is Thing.WORKFLOW:
        return await room.workflow(found.id)
    return await room.operation(found.id)
