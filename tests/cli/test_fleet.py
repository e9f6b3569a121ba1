"""The commands of a fleet: who is there, what becomes of a lost host's task, and the move there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.model.ids import HostId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Claimed, Operation, Status
from codex_control_plane_mcp.model.request import Submission
from codex_control_plane_mcp.rendezvous import worker_lock_path
from codex_control_plane_mcp.store.workers import latest
from tests.cli.commands import ADMIN, Typed, environment, run, told
from tests.hosts import enrolled, there
from tests.model.lives import ACCEPTED, BOUND, FIRST, INTENDED
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at

pytestmark = pytest.mark.usefixtures("where_postgres_runs")

SECRET = "correct-horse"  # the server of the tests asks for none
#: A door that nobody answers at.
NOBODY = f"postgresql://fleet:{SECRET}@127.0.0.1:1/fleet"


@pytest.fixture
def url(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the settings name."""
    url = postgres_url.replace("+psycopg", "").replace("postgres@", f"postgres:{SECRET}@")
    monkeypatch.setenv("CODEX_MCP_DATABASE_URL", url)
    monkeypatch.setenv("CODEX_MCP_HOST", "studio")
    return url


@pytest.fixture
def desk(typed: Typed, url: str) -> Iterator[Desk]:
    """Whoever wrote the book of the fleet: `studio` is there, `attic` is not."""
    with desk_at(url) as desk:
        enrolled(desk.book, "attic")
        with there(url, enrolled(desk.book, "studio")):
            yield desk


def begun(desk: Desk, host: str, submission: Submission | None = None) -> Operation:
    """A task whose turn runs on a host."""
    queued = desk.submit(submission)
    thread = queued.thread_id or ThreadId(f"thread of {queued.id}")
    return desk.record(
        queued,
        Claimed(FIRST, HostId(host)),
        replace(BOUND, thread_id=thread),
        INTENDED,
        replace(ACCEPTED, turn_id=TurnId(f"turn of {queued.id}")),
    )


# --- Looking -------------------------------------------------------------------------------------


def test_hosts_are_listed_with_what_each_has_in_hand(desk: Desk, typed: Typed) -> None:
    lost = begun(desk, "attic")
    assert lost.thread_id is not None
    begun(desk, "studio")
    desk.submit(desk.submission("More of it.", thread=lost.thread_id))
    code, shown, _ = typed("hosts")
    assert code == 0
    _, attic, studio = shown.splitlines()
    assert attic.split()[:2] == ["attic", "away"]
    assert "1 of 4" in attic
    assert studio.split() == ["studio", "present", "1", "of", "4", "0.163.0", "0.3.0"]

    first, second = told(typed("hosts", "--json"))["hosts"]
    assert (first["host"], first["present"], first["queuedCount"]) == ("attic", False, 1)
    assert {"activeTurnCount": 1, "capacity": 4, "present": True, "queuedCount": 0}.items() <= (
        second.items()
    )


def test_a_list_of_tasks_says_where_each_is_and_who_is_there(desk: Desk, typed: Typed) -> None:
    lost, waits = begun(desk, "attic"), desk.submit()
    code, shown, _ = typed("ps")
    assert code == 0
    lines = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "  attic  " in lines[lost.id]
    assert "its host attic is not connected" in shown
    assert "no host that is connected has its project" in shown
    assert "away" in lines["attic"]
    assert "present" in lines["studio"]

    listed = told(typed("ps", "--json"))
    assert [one["host"] for one in listed["active"]] == ["attic"]
    assert "host" not in listed["queued"][0]
    assert [one["host"] for one in listed["hosts"]] == ["attic", "studio"]
    assert waits.id in lines
    assert "attic is not connected; the turn may go on there" in typed("show", lost.id)[1]


def test_one_machine_is_no_fleet(typed: Typed, folder: Path) -> None:
    with _one_machine(folder) as desk:
        desk.submit()
    assert "hosts" not in told(typed("ps", "--json"))
    assert "HOST" not in typed("ps")[1]
    for command in (["hosts"], ["requeue", "op_1"], ["forget-host", "x"], ["move-to-postgres"]):
        code, _, refused = typed(*command)
        assert code == Exit.USAGE
        assert "set CODEX_MCP_DATABASE_URL" in refused


def test_where_nobody_answers_a_command_says_so_and_not_the_password(
    typed: Typed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_MCP_DATABASE_URL", NOBODY)
    with _one_machine(folder):
        pass
    for command in (["hosts"], ["ps"], ["requeue", "op_1"], ["move-to-postgres"]):
        code, out, refused = typed(*command, "--json")
        assert code == Exit.UNREACHABLE
        assert json.loads(out)["error"]["code"] == "CODEX_STATE_BUSY"
        assert "127.0.0.1" in out
        assert SECRET not in out + refused
    monkeypatch.setenv("CODEX_MCP_DATABASE_URL", f"mysql://fleet:{SECRET}@db/fleet")
    code, _, refused = typed("hosts")
    assert code == Exit.USAGE
    assert "must be a URL: postgresql://user@host:5432/database" in refused
    assert SECRET not in refused


# --- Requeue -------------------------------------------------------------------------------------


def test_a_lost_hosts_task_is_done_anew_once_somebody_says_so(desk: Desk, typed: Typed) -> None:
    lost, other = begun(desk, "attic"), begun(desk, "attic")
    code, said, _ = typed("requeue", lost.id)
    assert code == 0
    assert f"{lost.id} has ended" in said
    assert desk.get(lost.id).status is Status.UNKNOWN

    done = told(typed("requeue", other.id, "--json"))
    anew = desk.get(done["requeuedAs"])
    assert (done["operationId"], anew.status, anew.host) == (other.id, Status.QUEUED, None)
    assert "gave it up, for its host attic is gone" in desk.journal(other.id)[-1]


def test_only_a_lost_hosts_new_chat_is_requeued(desk: Desk, typed: Typed) -> None:
    def refused(operation_id: str) -> tuple[int, str]:
        code, out, _ = typed("requeue", operation_id, "--json")
        return code, json.loads(out)["error"]["message"]

    here, queued = begun(desk, "studio"), desk.submit()
    bound = begun(desk, "attic", desk.submission("More.", thread="t-9"))
    for id_, code, why in (
        (here.id, Exit.USAGE, "is connected; interrupt the task instead"),
        (queued.id, Exit.USAGE, "what is queued moves by itself"),
        (bound.id, Exit.USAGE, "lives on attic"),
        ("op_9", Exit.NOT_FOUND, "no operation"),
        ("t-9", Exit.USAGE, "is no id"),
    ):
        found, words = refused(id_)
        assert (found, why in words) == (code, True), words
    assert desk.get(bound.id).status is Status.RUNNING


# --- Forget --------------------------------------------------------------------------------------


def test_a_host_that_is_gone_for_good_is_forgotten(desk: Desk, typed: Typed) -> None:
    assert typed("forget-host", "attic")[:2] == (0, "attic is off the list.\n")
    assert [one["host"] for one in told(typed("hosts", "--json"))["hosts"]] == ["studio"]
    assert "attic" not in typed("ps")[1]
    code, _, refused = typed("forget-host", "attic")
    assert code == Exit.USAGE
    assert "no host of the fleet is called 'attic'; there are: studio" in refused


def test_a_host_is_not_forgotten_while_it_is_there_or_has_anything(
    desk: Desk, typed: Typed
) -> None:
    lost = begun(desk, "attic")
    follows = desk.submit(desk.submission("More of it.", thread=lost.thread_id))
    before = desk.read(lambda reading: latest(reading, HostId("attic")))
    for host, why in (
        ("studio", "studio is connected; end its worker there first"),
        ("attic", f"attic has in hand {lost.id} (`requeue` has a new chat done elsewhere)"),
        ("attic", f"for attic alone waits {follows.id} (`cancel` ends it)"),
        ("attic", "forget-host attic --force"),
    ):
        code, _, refused = typed("forget-host", host)
        assert (code, why in refused) == (Exit.USAGE, True), refused
    assert desk.read(lambda reading: latest(reading, HostId("attic"))) == before


def test_what_a_forgotten_host_had_ends_and_is_not_gone_on_with(desk: Desk, typed: Typed) -> None:
    lost = begun(desk, "attic")
    follows = desk.submit(desk.submission("More of it.", thread=lost.thread_id))
    done = told(typed("forget-host", "attic", "--force", "--json"))
    assert (done["host"], set(done["ended"])) == ("attic", {lost.id, follows.id})
    assert desk.get(lost.id).status is Status.UNKNOWN
    assert desk.get(follows.id).status is Status.FAILED
    assert desk.journal(lost.id)[-1].endswith("had the fleet forget its host attic")
    with pytest.raises(InvalidArgument, match=r"lives on attic, which .* forget; start a new chat"):
        desk.submit(desk.submission("And more.", thread=lost.thread_id))


# --- Migrate -------------------------------------------------------------------------------------


def test_a_state_is_brought_to_this_release_and_says_who_can_use_it(
    url: str, folder: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(typed("migrate", "--json")) == {"ok": True, "edition": 1, "usableFromEdition": 1}
    assert typed("migrate")[1].startswith("The state is of edition 1; releases that know edition 1")
    monkeypatch.delenv("CODEX_MCP_DATABASE_URL")
    assert typed("migrate")[0] == Exit.USAGE  # there is none
    with _one_machine(folder) as desk, _worker_at(desk):
        code, _, refused = typed("migrate")
    assert code == Exit.REFUSED
    assert "stop --worker-only" in refused
    assert typed("migrate")[0] == 0


def test_a_state_that_only_a_newer_release_can_use_is_left_alone(desk: Desk, typed: Typed) -> None:
    desk.sql("INSERT INTO edition (number, applied_at, usable_from) VALUES (9, 0, 9)")
    for command in (["migrate"], ["ps"], ["hosts"]):
        code, _, refused = typed(*command)
        assert code == Exit.UNREACHABLE
        assert "it needs edition 9, this one knows 1): upgrade this installation" in refused


@contextmanager
def _worker_at(desk: Desk) -> Iterator[None]:
    """As far as others can tell."""
    lock = FileLock(worker_lock_path(str(desk.where)))
    assert lock.acquire(blocking=False)
    yield
    lock.release()


# --- Move ----------------------------------------------------------------------------------------


def _one_machine(folder: Path) -> AbstractContextManager[Desk]:
    state = folder / "state" / "state.sqlite3"
    state.parent.mkdir(mode=0o700)
    return desk_at(state)


def test_the_state_of_a_machine_is_moved_once(url: str, folder: Path) -> None:
    with _one_machine(folder) as desk:
        for _ in range(3):
            desk.submit()
    env = environment(folder, CODEX_MCP_DATABASE_URL=url, CODEX_MCP_HOST="studio")
    moved = run(ADMIN, "move-to-postgres", env=env)
    assert moved.returncode == 0, moved.stderr
    assert "operations             3 rows" in moved.stdout
    assert "as host studio: every row is there, and the same" in moved.stdout
    again = run(ADMIN, "move-to-postgres", env=env)
    assert again.returncode == Exit.USAGE
    assert "the target is not empty (operations): name a new database" in again.stderr
    listed = run(ADMIN, "ps", "--json", env=env)
    assert json.loads(listed.stdout)["queuedCount"] == 3
    for one in (moved, again, listed):
        assert SECRET not in one.stdout + one.stderr


def test_a_state_is_moved_from_where_it_is_said_to_be(url: str, folder: Path, typed: Typed) -> None:
    with _one_machine(folder) as desk:
        desk.submit()
    done = told(typed("move-to-postgres", "--state-db", str(desk.where), "--json"))
    assert done["host"] == "studio"
    assert done["tables"]["operations"]["rows"] == 1


def test_what_cannot_be_moved_stays_and_says_why(url: str, folder: Path, typed: Typed) -> None:
    code, _, refused = typed("move-to-postgres")
    assert code == Exit.USAGE
    assert "there is no state at" in refused
    with _one_machine(folder) as desk:
        desk.submit()
    with _worker_at(desk):
        code, _, refused = typed("move-to-postgres")
    assert code == Exit.REFUSED
    assert "stop --worker-only" in refused
    assert told(typed("ps", "--json"))["queuedCount"] == 0
