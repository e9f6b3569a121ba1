"""Hand a task to Codex and wait for its report; the same key finds the same task again.

    python examples/ci_task.py --key build-41 --cwd . "Say which tests are missing."

Exit codes: 0 completed, 1 not, 3 Codex asks for something, 4 nobody knows how it ended.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

EXIT_CODES = {"completed": 0, "failed": 1, "interrupted": 1, "cancelled": 1}
ASKS = {"waiting_for_approval": 3, "waiting_for_user_input": 3}
UNKNOWN = {"unknown_after_app_server_exit": 4}


async def run(key: str, cwd: Path, message: str) -> int:
    server = StdioServerParameters(command="codex-control-plane-mcp", env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()

        async def call(tool: str, **arguments: object) -> dict[str, Any]:
            answer = await session.call_tool(tool, arguments)
            told: dict[str, Any] = answer.structured_content or {}
            if not told.get("ok"):
                raise SystemExit(f"{tool}: {told.get('error', answer.content)}")
            return told

        task = await call(
            "codex_submit_task",
            operation_type="start_chat",
            client_request_id=key,
            cwd=str(cwd),
            message=message,
        )
        ends = EXIT_CODES | ASKS | UNKNOWN
        while task["status"] not in ends:
            task = await call(
                "codex_get_operation_status", operation_id=task["operationId"], wait_seconds=45
            )
        report = task.get("finalReport") or {}
        print(report.get("text") or f"{task['status']}: {task.get('lastError')}")
        return ends[task["status"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--key", required=True)
    parser.add_argument("--cwd", type=Path, default=Path())
    parser.add_argument("message")
    wanted = parser.parse_args()
    sys.exit(asyncio.run(run(wanted.key, wanted.cwd.resolve(), wanted.message)))


if __name__ == "__main__":
    main()
