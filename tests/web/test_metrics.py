"""The metrics beside the page: for who has the token, on this machine only."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.doors.prometheus import CONTENT_TYPE
from tests.desk.reception import Reception
from tests.web.visitors import Visitor, visiting

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Real sockets take real time."""
    return "asyncio"


async def scraped(visitor: Visitor, token: str, **headers: str) -> tuple[int, str]:
    answer = await visitor.http.get(
        f"{visitor.origin}/metrics", headers={"Authorization": f"Bearer {token}", **headers}
    )
    return answer.status_code, answer.text


async def test_who_bears_the_token_reads_the_metrics(at: Reception) -> None:
    async with visiting(at, enters=False) as visitor:
        # It lies there before anybody asks: a scraper reads it first.
        token = at.settings.metrics_token_file.read_text().strip()
        answer = await visitor.http.get(
            f"{visitor.origin}/metrics", headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"] == CONTENT_TYPE
        assert "set-cookie" not in answer.headers
        assert 'codex_control_plane_operations{status="queued"} 0\n' in answer.text
    if sys.platform != "win32":  # the folder's owner is, there
        assert stat.S_IMODE(at.settings.metrics_token_file.stat().st_mode) == 0o600


async def test_who_has_no_token_or_is_not_from_here_reads_nothing(at: Reception) -> None:
    async with visiting(at) as visitor:  # with the session of a page, even
        token = at.settings.metrics_token_file.read_text().strip()
        assert (await visitor.http.get(f"{visitor.origin}/metrics")).status_code == 401
        for wrong in ("wrong", token[:-1], f"{token}x"):
            status, text = await scraped(visitor, wrong)
            assert (status, "codex_control_plane" in text) == (401, False)
        for host in ("evil.example", f"evil.example:{visitor.origin.rpartition(':')[2]}"):
            assert (await scraped(visitor, token, Host=host))[0] == 421
        posted = await visitor.http.post(
            f"{visitor.origin}/metrics", headers={"Authorization": f"Bearer {token}"}
        )
        assert posted.status_code in (403, 405)


async def test_a_token_that_was_removed_is_valid_no_more(at: Reception) -> None:
    async with visiting(at, enters=False) as visitor:
        former = at.settings.metrics_token_file.read_text().strip()
        at.settings.metrics_token_file.unlink()
        assert (await scraped(visitor, former))[0] == 401
        present = at.settings.metrics_token_file.read_text().strip()
        assert (await scraped(visitor, present))[0] == 200


async def test_the_guides_command_reads_them(at: Reception) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    guide = (Path(__file__).parents[2] / "docs/guides/observability.md").read_text("utf-8")
    (command,) = re.findall(r"```sh\n(curl .*)\n```", guide)
    async with visiting(at, enters=False) as visitor:
        port = visitor.origin.rpartition(":")[2]
        env = {**os.environ, "STATE": str(at.settings.state_db), "CODEX_MCP_WEB_PORT": port}
        with anyio.fail_after(30):
            done = await anyio.run_process(["sh", "-c", command], env=env)
    assert b'codex_control_plane_operations{status="queued"} 0\n' in done.stdout
