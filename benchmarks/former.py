"""Beside the published 0.2.1, in the same run: what its users gain by moving over.

It is installed from the package index into an environment of its own, and driven by the same client
over the same calls on the same Codex. Each has a state and a CODEX_HOME of its own. A server of
0.2.1 does all the work in the client's own process; of ours that process is the pipe, and the
worker, which is there once for all clients, is told of in a note.
"""

import sqlite3
import subprocess
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Timer

import psutil

from benchmarks.client import Answer, Client, started
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.scale import EVENTS, MANY, filled, until_indexed
from benchmarks.stage import Rounds, Stage, stage
from benchmarks.wrapper import BYTES_A_TOKEN
from codex_control_plane_mcp.codex.binary import find_binary

VERSION = "0.2.1"
MEGABYTE = 1_000_000
WARMING_UP = 5
#: The task of the `status` benchmark.
TASK = "Look around.\nsay I look.\nrun echo one\nrun echo two\nsay Both answered.\nstream 200 words"
DELTAS = 1000
#: More than run at once.
ALL_SLOTS = 4
#: At once, of so many deltas each; both are told to run so many.
TURNS = 16
WORDS = 200
LIMITS = {
    f"max_active_{what}": TURNS
    for what in ("turns_global", "turns_per_project", "turns_per_agent", "write_turns_per_project")
}
#: For the call to be waiting when the turn ends.
SETTLE_SECONDS = 0.2

Call = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Rival:
    """One of the two, up, with a client."""

    place: Stage
    client: Client
    project_id: str

    def submit(self, prompt: str) -> Answer:
        return self.client.call(
            "codex_submit_task",
            operation_type="start_chat",
            project_id=self.project_id,
            message=prompt,
        )

    def done(self, prompt: str) -> str:
        """Have a task done; its operation id."""
        operation_id: str = self.submit(prompt).content["operationId"]
        self.place.until(self.client, operation_id, "completed")
        return operation_id

    def status(self, operation_id: str, **more: object) -> Answer:
        return self.client.call("codex_get_operation_status", operation_id=operation_id, **more)


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    with ExitStack() as stack:
        folder = stack.enter_context(stage(installation)).folder
        theirs = installed(folder / "venv")
        yield from _starts(installation, theirs, rounds)
        yield from _calls(installation, theirs, rounds)
        yield from _at_once(installation, theirs, rounds)
        yield from _many(installation, theirs, rounds)


def installed(folder: Path) -> Installation:
    """0.2.1 in an environment of its own."""
    venv.EnvBuilder(with_pip=True).create(folder)
    python = folder / "bin" / "python"
    wanted = f"codex-control-plane-mcp=={VERSION}"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True)
    return Installation(python, (str(folder / "bin" / "codex-control-plane-mcp"),), ())


# --- Starting ------------------------------------------------------------------------------------


def _starts(ours: Installation, theirs: Installation, rounds: Rounds) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    weight: dict[str, list[float]] = {"ours": [], "theirs": []}
    cold: dict[str, list[float]] = {"ours": [], "theirs": []}
    called: dict[str, list[float]] = {"ours": [], "theirs": []}
    listed: dict[str, int] = {}
    for name, installation in (("ours", ours), ("theirs", theirs)):
        for _ in range(rounds.of(5, 2)):
            with _staged(installation) as place:
                began = time.perf_counter()
                with started(installation.server, place.environ) as (client, seconds):
                    cold[name].append(seconds * 1000)
                    answer = client.call("codex_health_summary")
                    called[name].append((answer.at - began) * 1000)
    with _staged(ours) as our_place, _staged(theirs) as their_place:
        places = (("ours", ours, our_place), ("theirs", theirs, their_place))
        with our_place.client(), their_place.client():
            for _ in range(rounds.of(20, 5)):
                for name, installation, place in places:
                    with started(installation.server, place.environ) as (client, seconds):
                        answer = client.request("tools/list", {})
                        took[name].append(seconds * 1000)
                        weight[name].append(_weight(client.pid))
                        listed[name] = answer.line_bytes
            worker = our_place.worker()
            shared = 0.0 if worker is None else _weight(worker.pid)
    yield _figure("connect, the first client", "ms", cold, 1)
    yield _figure("its first call answered", "ms", called, 1, "codex_health_summary")
    yield _figure("connect, further clients", "ms", took, 1 / 4)
    yield _figure(
        "memory of each client (RSS)", "MB", weight, 0.4, f"and one worker of {shared:.0f} MB"
    )
    tokens = " and ".join(f"{size / BYTES_A_TOKEN:,.0f}" for size in listed.values())
    yield _figure(
        "tools/list",
        "kB",
        {name: [size / 1000] for name, size in listed.items()},
        0.4,
        f"some {tokens} tokens, at {BYTES_A_TOKEN} bytes each",
    )


# --- Calls ---------------------------------------------------------------------------------------


def _calls(ours: Installation, theirs: Installation, rounds: Rounds) -> Iterator[Figure]:
    with ExitStack() as stack:
        rivals = {
            "ours": _rival(stack, ours),
            "theirs": _rival(stack, theirs),
        }
        done = {name: rival.done(TASK) for name, rival in rivals.items()}
        status = _in_turns(
            {name: _looking(rival, done[name]) for name, rival in rivals.items()},
            rounds.of(200, 30),
        )
        yield _figure("status of a finished task", "ms", _millis(status), 1 / 5)
        yield _figure("its size, as a model reads it", "kB", _sizes(status), 1 / 10)
        health = _in_turns(
            {name: _health(rival) for name, rival in rivals.items()}, rounds.of(100, 20)
        )
        yield _figure("health", "ms", _millis(health), 1 / 5)
        for rival in rivals.values():  # as many as may run, so that the next ones only queue
            for number in range(ALL_SLOTS):
                rival.submit(f"Hold {number}.\nhold the-end")
            rival.place.model.wait_for("the-end")
        acknowledged = _in_turns(
            {name: _submitting(rival) for name, rival in rivals.items()}, rounds.of(50, 10)
        )
        yield _figure("submit → acknowledged", "ms", _millis(acknowledged), 1 / 2)
    yield from _growth(ours, theirs)


# --- Turns ---------------------------------------------------------------------------------------


def _at_once(ours: Installation, theirs: Installation, rounds: Rounds) -> Iterator[Figure]:
    """To know that a turn is over, and what many turns at once take. 0.2.1 cannot wait: it is
    polled, fifty times a second. Of both it is counted from the moment when the model goes on."""
    woken: dict[str, list[float]] = {"ours": [], "theirs": []}
    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    with ExitStack() as stack:
        rivals = {
            "ours": _rival(stack, ours, stack.enter_context(_staged(ours, **LIMITS))),
            "theirs": _rival(stack, theirs, stack.enter_context(_staged(theirs, **LIMITS))),
        }
        for number in range(rounds.of(20, 4)):
            for name, rival in rivals.items():
                woken[name].append(_woken(rival, f"gate-{number}", waits=name == "ours") * 1000)
        for number in range(rounds.of(5, 1)):
            for name, rival in rivals.items():
                took[name].append(_turns(rival, f"Round {number}"))
    yield _figure("turn over → the client knows", "ms", woken, None, "0.2.1 is polled")
    yield _figure(f"{TURNS} turns x {WORDS} deltas at once", "s", took, None)


def _woken(rival: Rival, gate: str, *, waits: bool) -> float:
    operation_id: str = rival.submit(f"Wait for {gate}.\nhold {gate}\nsay done").content[
        "operationId"
    ]
    rival.place.until(rival.client, operation_id, "running")
    rival.place.model.wait_for(gate)
    released: list[float] = []

    def release() -> None:
        released.append(time.perf_counter())
        rival.place.model.release(gate)

    timer = Timer(SETTLE_SECONDS, release)
    timer.start()
    if waits:
        while rival.status(operation_id, wait_seconds=45).content["status"] != "completed":
            pass
    else:
        rival.place.until(rival.client, operation_id, "completed")
    at = time.perf_counter()
    timer.join()
    return at - released[0]


def _turns(rival: Rival, name: str) -> float:
    began = time.perf_counter()
    ids = [
        rival.submit(f"{name}, turn {number}.\nstream {WORDS} words").content["operationId"]
        for number in range(TURNS)
    ]
    for operation_id in ids:
        rival.place.until(rival.client, operation_id, "completed")
    return time.perf_counter() - began


def _growth(ours: Installation, theirs: Installation) -> Iterator[Figure]:
    grown: dict[str, list[float]] = {}
    for name, installation in (("ours", ours), ("theirs", theirs)):
        with ExitStack() as stack:
            rival = _rival(stack, installation)
            rival.done("Warm up.\nsay yes")
            before = _size(rival.place)
            rival.done(f"Talk.\nstream {DELTAS} words")
            grown[name] = [(_size(rival.place) - before) / 1000]
    yield _figure(f"book, for {DELTAS:,} deltas", "kB", grown, None)


# --- 10,000 tasks --------------------------------------------------------------------------------


def _many(ours: Installation, theirs: Installation, rounds: Rounds) -> Iterator[Figure]:
    with ExitStack() as stack:
        our_place = stack.enter_context(_staged(ours))
        ids = filled(our_place, MANY)
        first = _rival(stack, ours, our_place)
        their_place = stack.enter_context(_staged(theirs))
        with ExitStack() as short:
            their_id = _rival(short, theirs, their_place).done(TASK)
        _multiply(their_place.state_db, MANY)
        second = _rival(stack, theirs, their_place)
        # Once, after such a state came from elsewhere, our search index is made. 0.2.1 has none.
        until_indexed(first.client)
        note = f"{MANY * EVENTS:,} journal entries"
        status = _in_turns(
            {
                "ours": _looking(first, ids[len(ids) // 2]),
                "theirs": _looking(second, f"{their_id}-{MANY // 2}"),
            },
            rounds.of(100, 10),
        )
        yield _figure(f"status, {MANY:,} tasks", "ms", _millis(status), 1 / 20, note)
        health = _in_turns({"ours": _health(first), "theirs": _health(second)}, rounds.of(30, 5))
        yield _figure(f"health, {MANY:,} tasks", "ms", _millis(health), 1 / 20, note)


#: Of 0.2.1's tables, those that a task leaves rows in.
_TABLES = (
    "codex_operations",
    "codex_operation_scheduling",
    "codex_prompt_submissions",
    "tracked_turns",
    "tracked_turn_messages",
    "tracked_turn_progress_events",
    "app_server_events",
)
#: What is another for each copy.
_NAMES = {
    *("operation_id", "client_request_id", "prompt_submission_id", "prompt_hash"),
    *("thread_id", "chat_id", "turn_id", "request_id", "event_hash", "message_id"),
}


def _multiply(state_db: Path, tasks: int) -> None:
    """Copy the one task that is there, with EVENTS events each."""
    database = sqlite3.connect(state_db)
    with database:
        for table in _TABLES:
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            there = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
            each = tasks
            if table == "tracked_turn_progress_events" and there:
                each = tasks * EVENTS // there
            chosen = ", ".join(
                "NULL" if name == "id" else f"{name} || '-' || i" if name in _NAMES else name
                for name in columns
            )
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <"  # noqa: S608
                f" {each}) INSERT INTO {table} SELECT {chosen} FROM {table}, n"
            )
    database.close()


# --- Both ----------------------------------------------------------------------------------------


@contextmanager
def _staged(installation: Installation, **settings: object) -> Iterator[Stage]:
    with stage(installation, **settings) as place:
        # 0.2.1 looks for Codex on the PATH only.
        named = {**place.environ, "CODEX_BINARY_PATH": str(find_binary(None))}
        yield replace(place, environ=named)


def _rival(stack: ExitStack, installation: Installation, place: Stage | None = None) -> Rival:
    place = place or stack.enter_context(_staged(installation))
    client = stack.enter_context(place.client())
    listed = client.call("codex_list_projects").content["projects"]
    (project_id,) = (one["projectId"] for one in listed if one["name"] == place.project.name)
    return Rival(place, client, project_id)


def _looking(rival: Rival, operation_id: str) -> Call:
    return lambda: rival.status(operation_id)


def _health(rival: Rival) -> Call:
    return lambda: rival.client.call("codex_health_summary")


def _submitting(rival: Rival) -> Call:
    numbers = count(1)
    return lambda: rival.submit(f"Task {next(numbers)}.\nsay yes")


def _in_turns(calls: Mapping[str, Call], rounds: int) -> dict[str, list[Answer]]:
    """Each called as often, one after the other, so that what else the machine does hits both."""
    answers: dict[str, list[Answer]] = {name: [] for name in calls}
    for _ in range(WARMING_UP + rounds):
        for name, call in calls.items():
            answers[name].append(call())
    return {name: given[WARMING_UP:] for name, given in answers.items()}


def _millis(answers: Mapping[str, Sequence[Answer]]) -> dict[str, list[float]]:
    return {name: [one.seconds * 1000 for one in given] for name, given in answers.items()}


def _sizes(answers: Mapping[str, Sequence[Answer]]) -> dict[str, list[float]]:
    return {name: [one.text_bytes / 1000 for one in given] for name, given in answers.items()}


def _figure(
    what: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    aim: float | None,
    note: str = "",
) -> Figure:
    ours, theirs = spread(values["ours"]), spread(values["theirs"])
    return Figure(
        what=f"{what}, ours and {VERSION}",
        unit=unit,
        ours=ours,
        beside=theirs,
        beside_is=VERSION,
        aim=None if aim is None else Aim(limit=aim, words=f"{aim:.2g} x"),
        judged=None if aim is None else ours.median / theirs.median,
        note=note,
    )


def _size(place: Stage) -> int:
    """The book with what is not yet in its file."""
    parts = (place.state_db, place.state_db.with_name(f"{place.state_db.name}-wal"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _weight(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MEGABYTE
