"""What every benchmark stands on: a state, a CODEX_HOME and a scripted model of its own.

The model is a process of its own, so that it takes no time from the client that measures. Leaving
the stage ends everything that was started on it, and says so if something had to be forced.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.client import Client, started
from benchmarks.installation import Installation
from codex_control_plane_mcp.codex.record import Record, read_record
from codex_control_plane_mcp.rendezvous import read_descriptor
from codex_control_plane_mcp.scripted_model import write_codex_home

#: For a process that was asked to end.
END_SECONDS = 20.0
POLL_SECONDS = 0.02
#: The longest that a benchmark waits for one task.
TASK_SECONDS = 120.0

#: What must not leak from the caller into what is measured.
_NOT_OURS = ("CODEX", "OPENCLAW", "COVERAGE", "PYTHON")


class LeftBehind(Exception):
    """A process did not end when it was asked to."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """How much to measure."""

    quick: bool = False

    def of(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual


class Model:
    """The scripted model in its own process, spoken to over HTTP."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        # A proxy for http must never see this.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def release(self, name: str) -> None:
        self._ask(f"/release/{name}", method="POST")

    def wait_for(self, name: str) -> None:
        """Until somebody has reached `hold NAME`."""
        self._ask(f"/arrived/{name}")

    def arrivals(self) -> dict[str, float]:
        """When the request for each prompt came, as `time.time()`, by the prompt's first line."""
        found: dict[str, float] = {}
        for request in self._ask("/requests"):
            at = datetime.fromisoformat(request["received_at"]).timestamp()
            found.setdefault(request["user_message"].splitlines()[0], at)
        return found

    def _ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(self.base_url + path, method=method)  # noqa: S310
        with self._opener.open(request, timeout=TASK_SECONDS) as answer:
            return json.load(answer)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a benchmark needs to know of the place."""

    folder: Path
    installation: Installation
    environ: Mapping[str, str]
    state_db: Path
    project: Path
    model: Model

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the product, and the worker, which the first one starts."""
        with started(self.installation.server, self.environ) as (client, _):
            client.call("codex_health_summary")
            yield client

    def worker(self) -> psutil.Process | None:
        announced = read_descriptor(str(self.state_db))
        if announced is None or not psutil.pid_exists(announced.pid):
            return None
        return psutil.Process(announced.pid)

    def app_server(self) -> Record:
        record = read_record(self.state_db.with_name(f"{self.state_db.name}.app-server"))
        assert record is not None, "no app-server has been started yet"
        return record

    def submit(self, client: Client, prompt: str) -> str:
        """Submit a task for the model; its operation id."""
        answer = client.call(
            "codex_submit_task",
            operation_type="start_chat",
            cwd=str(self.project),
            message=prompt,
        )
        operation_id: str = answer.content["operationId"]
        return operation_id

    def until(self, client: Client, operation_id: str, *statuses: str) -> Mapping[str, Any]:
        """Wait until the operation has one of these statuses."""
        give_up_at = time.monotonic() + TASK_SECONDS
        while time.monotonic() < give_up_at:
            answer = client.call("codex_get_operation_status", operation_id=operation_id)
            if answer.content["status"] in statuses:
                return answer.content
            if answer.content["completedAt"] is not None:
                raise RuntimeError(f"the task ended as {answer.content}")
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"{operation_id} is not {' or '.join(statuses)}")

    def do(self, client: Client, prompt: str) -> str:
        """Have a task done to its end; its operation id."""
        operation_id = self.submit(client, prompt)
        self.until(client, operation_id, "completed")
        return operation_id

    def end_worker(self) -> None:
        if (worker := self.worker()) is not None:
            _end([worker])


@contextmanager
def stage(installation: Installation, **settings: object) -> Iterator[Stage]:
    """Set a stage; `settings` are environment variables without their CODEX_MCP_ in front."""
    with (
        tempfile.TemporaryDirectory(prefix="codex-bench-", ignore_cleanup_errors=True) as temporary,
        _model() as (model, model_process),
    ):
        folder = Path(temporary).resolve()
        project = folder / "project"
        project.mkdir()
        home = write_codex_home(folder / "codex-home", model.base_url)
        state_db = folder / "state" / "state.sqlite3"
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)},
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "CODEX_HOME": str(home),
            "CODEX_MCP_STATE_DB": str(state_db),
            "CODEX_ALLOWED_ROOTS": str(folder),
            "CODEX_MCP_APP_SERVER": "private",
            **{f"CODEX_MCP_{name.upper()}": str(value) for name, value in settings.items()},
        }
        made = Stage(folder, installation, environ, state_db, project, model)
        try:
            yield made
        finally:
            # The worker first, or it would start another app-server; that one last: it ends only
            # after its turns, which end with the model.
            with ExitStack() as ending:
                ending.callback(lambda: _end(_living_on(home)))
                ending.callback(_end, [model_process])
                ending.callback(made.end_worker)


@contextmanager
def _model() -> Iterator[tuple[Model, psutil.Process]]:
    argv = [sys.executable, "-P", "-m", "codex_control_plane_mcp.scripted_model"]
    with subprocess.Popen(
        [*argv, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        try:
            yield Model(said["base_url"]), psutil.Process(process.pid)
        finally:
            process.stdin.close()
            process.wait(END_SECONDS)


def _living_on(home: Path) -> list[psutil.Process]:
    """Every process that was started with this CODEX_HOME, which is this stage's own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CODEX_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, stubborn = psutil.wait_procs(processes, timeout=END_SECONDS)
    for process in stubborn:
        process.kill()
    if stubborn:
        raise LeftBehind(f"had to be killed: {stubborn}")
