"""Hook: what a person's turn waits for, twice: the journal hook, from its start to its end.

Beside it an empty Python, started in the same way. The two take turns.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, stage
from codex_control_plane_mcp.journal_hook import spool_of

#: As Codex says it, with an answer of about 200 words.
TOLD = json.dumps(
    {
        "session_id": "01a20539-172a-7cb2-8853-1210377ec697",
        "turn_id": "01a20539-1744-7612-8696-d4bae666af89",
        "transcript_path": "/home/me/.codex/sessions/2026/11/22/rollout.jsonl",
        "cwd": "/home/me/shop",
        "hook_event_name": "Stop",
        "model": "scripted",
        "permission_mode": "default",
        "stop_hook_active": False,
        "last_assistant_message": "so many words " * 67,
    }
).encode()

_WHERE = "import codex_control_plane_mcp.journal_hook as hook; print(hook.__file__)"


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    python = [str(installation.python), "-I", "-S"]
    where = subprocess.run(
        [str(installation.python), "-c", _WHERE], capture_output=True, text=True, check=True
    )
    ours, bare = [], []
    with stage(installation) as place:
        place.state_db.parent.mkdir(mode=0o700)
        hook = [*python, where.stdout.strip(), "--state-db", str(place.state_db)]
        for _ in range(rounds.of(100, 20)):
            bare.append(_milliseconds([*python, "-c", "pass"]))
            ours.append(_milliseconds(hook))
        kept = len(list(Path(spool_of(str(place.state_db))).iterdir()))
    assert kept == len(ours), f"{kept} of {len(ours)} events were kept"
    yield Figure(
        what="journal hook, start to end",
        unit="ms",
        ours=spread(ours),
        beside=spread(bare),
        beside_is="an empty Python",
        aim=Aim(limit=40),
    )


def _milliseconds(argv: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, input=TOLD, check=True)
    return (time.perf_counter() - began) * 1000
