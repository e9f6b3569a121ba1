"""Stands in for the command `codex-control-plane-mcp`: passes every line on, until a submission is
answered. Then, in place of the answer, it kills (-9) who asked.

The task is on record by then and may run; the step that handed it in knows nothing of that. Each
file in the folder ENGINES_CUTS is one such kill to come.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "codex_control_plane_mcp.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    submissions: set[object] = set()
    threading.Thread(target=_pass_on, args=(server.stdin, submissions), daemon=True).start()
    with suppress(BrokenPipeError):  # who asked is killed otherwise, too
        for line in server.stdout:
            if json.loads(line).get("id") in submissions and _is_to_cut():
                os.kill(os.getppid(), signal.SIGKILL)
                break
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    server.stdin.close()
    server.wait()


def _pass_on(server: BinaryIO, submissions: set[object]) -> None:
    for line in sys.stdin.buffer:
        call = json.loads(line)
        if call.get("params", {}).get("name") == "codex_submit_task":
            submissions.add(call["id"])
        server.write(line)
        server.flush()
    server.close()


def _is_to_cut() -> bool:
    for cut in Path(os.environ["ENGINES_CUTS"]).iterdir():
        cut.unlink()
        return True
    return False


main()
