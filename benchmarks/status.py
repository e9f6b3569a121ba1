"""Status: codex_get_operation_status with its defaults, of a task that ended and one that runs.

The size is that of the result as a model reads it. On the wire it is there twice, as MCP wants it:
as text for the model and as structured content for the program.
"""

import time
from collections.abc import Iterator

from benchmarks.client import Client
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, stage

WARMING_UP = 10
#: Streamed text is written down about once a second.
SETTLE_SECONDS = 2.0

#: A task as they are: some thinking, a few commands, a report of about 200 words.
WORK = """\
think First I look around.
say I look at what is there.
run echo one
run echo two
say Both answered; one more look.
run ls
stream 200 words"""


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    count = rounds.of(300, 50)
    with stage(installation) as place, place.client() as client:
        ended = place.do(client, f"Look around.\n{WORK}")
        yield from _looks(client, ended, "finished", count)
        running = place.submit(client, f"Look around, and stay.\n{WORK}\nhold the-end\nsay bye")
        place.model.wait_for("the-end")
        place.until(client, running, "running")
        time.sleep(SETTLE_SECONDS)
        yield from _looks(client, running, "running", count)


def _looks(client: Client, operation_id: str, which: str, count: int) -> Iterator[Figure]:
    answers = [
        client.call("codex_get_operation_status", operation_id=operation_id)
        for _ in range(WARMING_UP + count)
    ][WARMING_UP:]
    yield Figure(
        what=f"status of a {which} task",
        unit="ms",
        ours=spread(answer.seconds * 1000 for answer in answers),
        aim=Aim(limit=2),
    )
    lines = spread(answer.line_bytes / 1000 for answer in answers)
    yield Figure(
        what=f"status of a {which} task, size",
        unit="kB",
        ours=spread(answer.text_bytes / 1000 for answer in answers),
        aim=Aim(limit=6),
        note=f"{lines.median:.1f} kB on the wire",
    )
