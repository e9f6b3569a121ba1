"""A tiny worker in a process of its own: greets, answers every request with its pid.

Started by real pipes, as the real worker is. A call of the tool `die` kills it; the alarm ends it
should the test run die first.
"""

import json
import os
import signal
import socket
import sys
import threading

from codex_control_plane_mcp import rendezvous
from codex_control_plane_mcp.locks import FileLock

LIFETIME_SECONDS = 120


def main(state_db: str) -> None:
    signal.alarm(LIFETIME_SECONDS)
    with FileLock(rendezvous.worker_lock_path(state_db)):
        descriptor = rendezvous.choose_address(state_db)
        descriptor.pid = os.getpid()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(descriptor.path)
        listener.listen()
        with open(state_db + ".starts", "a") as starts:  # noqa: PTH123
            starts.write(f"{os.getpid()}\n")
        rendezvous.write_descriptor(state_db, descriptor)
        os.write(1, b"ready\n")
        while True:
            connected, _ = listener.accept()
            threading.Thread(target=serve, args=(connected,), daemon=True).start()


def serve(connected: socket.socket) -> None:
    with connected, connected.makefile("rwb") as lines:
        rendezvous.read_pipe_greeting(lines.readline(), None)
        lines.write(rendezvous.worker_greeting(["read"], ["submit"], ""))
        lines.flush()
        for line in lines:
            message = json.loads(line)
            if message.get("params", {}).get("name") == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if "id" in message:
                reply = {"jsonrpc": "2.0", "id": message["id"], "result": {"pid": os.getpid()}}
                lines.write(json.dumps(reply).encode() + b"\n")
                lines.flush()


if __name__ == "__main__":
    main(sys.argv[1])
