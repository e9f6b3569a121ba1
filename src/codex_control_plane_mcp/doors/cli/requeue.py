"""`requeue`: a person decides what becomes of a task whose host is gone."""

import getpass
import json
import os
import sys

import anyio

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.store.book import opened
from codex_control_plane_mcp.work.requeue import requeue


def run(operation_id: str, *, as_json: bool) -> int:
    chosen = settings.load(os.environ)
    if chosen.database_url is None:
        raise InvalidArgument(
            "on one machine the next worker takes up every task by itself; requeue is for a fleet "
            "(CODEX_MCP_DATABASE_URL)"
        )
    with opened(chosen.book) as book:
        anew = anyio.run(requeue, book, OperationId(operation_id), getpass.getuser())
    if as_json:
        sys.stdout.write(json.dumps({"operationId": operation_id, "requeuedAs": anew.id}) + "\n")
    else:
        sys.stdout.write(f"{operation_id} has ended; {anew.id} waits in the queue in its place.\n")
    return 0
