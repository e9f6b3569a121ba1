"""`python -m codex_control_plane_mcp.scripted_model`: the scripted model as a process of its own.

One JSON line on stdout says where it serves; SIGTERM, SIGINT or (if asked) a closed stdin ends it.
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from codex_control_plane_mcp.scripted_model.script import ScriptError
from codex_control_plane_mcp.scripted_model.server import serving_in_thread


def main() -> int:
    options = _options()
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    if options.until_stdin_closes:
        threading.Thread(target=_set_when_stdin_closes, args=(stop,), daemon=True).start()
    try:
        text = options.script.read_text(encoding="utf-8") if options.script else ""
        with serving_in_thread(text, port=options.port) as model:
            sys.stdout.write(json.dumps({"base_url": model.base_url, "pid": os.getpid()}) + "\n")
            sys.stdout.flush()
            # In slices: on Windows a signal does not wake a thread that waits for ever.
            while not stop.wait(timeout=1):
                pass
    except (OSError, ScriptError) as error:
        sys.stderr.write(f"scripted model: {error}\n")
        return 2
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripted_model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one (default)")
    parser.add_argument("--script", type=Path, help="playbook for prompts that hold no step")
    parser.add_argument("--until-stdin-closes", action="store_true", help="also end with stdin")
    return parser.parse_args()


def _set_when_stdin_closes(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
