"""`admin notices`: what was told to whom, once more, and a try."""

import json
import sys
from pathlib import Path

import pytest

from codex_control_plane_mcp.model.operation import Failed
from codex_control_plane_mcp.store import notices
from codex_control_plane_mcp.store.notices import Notices
from tests.cli.commands import ADMIN, environment, run
from tests.model.lives import TROUBLE
from tests.store.actors import desk as desk_at


@pytest.fixture
def dead(folder: Path) -> str:
    """A state with a notice that was given up, and one that was delivered; the former's id."""
    path = folder / "state" / "state.sqlite3"
    path.parent.mkdir()
    with desk_at(path, outbox=Notices(["webhook"])) as desk:
        for _ in range(2):
            desk.record(desk.submit(), Failed(TROUBLE))
        first, second = desk.read(lambda reading: notices.heads(reading, "webhook", 9))
        desk.write(lambda writing: notices.missed(writing, first, "it is down", None))
        desk.write(lambda writing: notices.delivered(writing, second))
    return first.notice.id


def test_what_was_not_delivered_is_listed_first_and_can_be_sent_again(
    dead: str, folder: Path
) -> None:
    env = environment(folder)
    shown = run(ADMIN, "notices", env=env | {"COLUMNS": "160"})
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert dead in lines[1]
    assert "dead" in lines[1]
    assert "it is down" in lines[1]
    assert "delivered" in lines[2]

    again = run(ADMIN, "notices", "replay", dead, "--json", env=env)
    assert (again.returncode, json.loads(again.stdout)["deliveries"]) == (0, 1), again.stderr
    listed = json.loads(run(ADMIN, "notices", "list", "--json", env=env).stdout)["notices"]
    assert [one["status"] for one in listed] == ["waiting", "delivered"]
    assert (listed[0]["id"], listed[0]["event"], listed[0]["attempts"]) == (
        dead,
        "operation.ended",
        0,
    )

    assert run(ADMIN, "notices", "replay", "--all-dead", env=env).returncode == 1
    both = run(ADMIN, "notices", "replay", dead, "--all-dead", env=env)
    assert (both.returncode, "name one notice" in both.stderr) == (2, True)


def test_the_receivers_are_tried_out(folder: Path) -> None:
    nobody = run(ADMIN, "notices", "test", env=environment(folder))
    assert nobody.returncode == 2
    assert "CODEX_MCP_NOTICES_COMMAND" in nobody.stderr

    keep = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    argv = json.dumps([sys.executable, "-c", keep, str(folder / "told")])
    took = run(ADMIN, "notices", "test", env=environment(folder, CODEX_MCP_NOTICES_COMMAND=argv))
    assert (took.returncode, took.stdout) == (0, "command: took it\n"), took.stderr
    told = json.loads((folder / "told").read_text())
    assert (told["event"], told["summary"]) == ("test", "This is a test: notices arrive.")

    secret = folder / "secret"
    more = {
        "CODEX_MCP_NOTICES_WEBHOOK_URL": "http://127.0.0.1:9/",
        "CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE": str(secret),
    }
    failed = run(ADMIN, "notices", "test", "--json", env=environment(folder, **more))
    (result,) = json.loads(failed.stdout)["results"]
    assert (failed.returncode, result["taken"]) == (1, False)
    assert result["trouble"] == f"the secret file {secret}: No such file or directory"
