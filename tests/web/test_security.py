"""Who may look, who may act, and what a model's words can do on a page: nothing."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.routing import Mount, Route

from codex_control_plane_mcp.clock import SystemClock
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.workflows.starting import StartPlan
from codex_control_plane_mcp.doors.web.app import make_app
from codex_control_plane_mcp.doors.web.door import WebDoor
from codex_control_plane_mcp.doors.web.guard import Guard
from codex_control_plane_mcp.doors.web.keys import LINK_SECONDS, SESSION_SECONDS, Keys
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import TurnId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Completed, Plan, Report
from codex_control_plane_mcp.model.request import OperationType
from tests.desk.reception import APP_SERVER, FixedClock, Reception, reception
from tests.web.site import served
from tests.web.visitors import Visitor, visiting

pytestmark = pytest.mark.anyio

PAGES = ("", "tasks", "inbox", "plans", "search?q=till", "health", "usage", "usage?days=7")
EVIL = """<script>alert(1)</script><img src=x onerror=alert(2)><a href="javascript:alert(3)">x</a>
[click](javascript:alert(4)) ![seen](https://elsewhere.example/pixel.png) <svg onload=alert(5)>"""


def task(at: Reception, message: str = "mend the till") -> Task:
    return Task(operation_type=OperationType.START_CHAT, message=message, cwd=str(at.project))


async def asked(at: Reception) -> str:
    """A question that waits for an answer."""
    receipt = await at.desk.submit(task(at))
    await at.workshop.start(receipt.operation_id)
    return await at.workshop.ask(receipt.operation_id, {"command": "make", "cwd": "/"})


async def is_unanswered(at: Reception) -> bool:
    return len((await at.desk.overview.inbox()).questions) == 1


# --- Who may look --------------------------------------------------------------------------------


async def test_a_link_works_once_and_begins_a_session_that_scripts_cannot_read(
    at: Reception,
) -> None:
    async with visiting(at, enters=False) as visitor:
        link = await visitor.site.link()
        first = await visitor.http.get(link)
        assert first.status_code == 200
        cookie = first.headers["set-cookie"].lower()
        place = visitor.site.base.removeprefix(visitor.origin)
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert f"path={place}" in cookie  # no other port of this machine gets it
        assert (await visitor.get()).status_code == 200

        second = await visitor.http.get(link)
        assert second.status_code == 403
        assert "set-cookie" not in second.headers


def test_links_and_sessions_end() -> None:
    clock = FixedClock()
    keys = Keys("secret", clock)
    key, late = keys.new_link_key(), keys.new_link_key()
    cookie = keys.use_link(key)
    assert cookie is not None
    session = keys.session(cookie)
    assert session is not None

    clock.at += LINK_SECONDS * 1000 + 1
    assert keys.use_link(late) is None
    clock.at += SESSION_SECONDS * 1000
    assert keys.session(cookie) is None


@pytest.mark.parametrize("cookie", ["", "a", "a.b.c", "é.9.x", "x" * 5000, "1.99999999999999.ab"])
def test_a_made_up_session_is_none(cookie: str) -> None:
    assert Keys("secret", SystemClock()).session(cookie) is None


def test_one_states_session_opens_no_other() -> None:
    ours, theirs = Keys("secret", SystemClock()), Keys("another", SystemClock())
    cookie = ours.use_link(ours.new_link_key())
    assert cookie is not None
    assert theirs.session(cookie) is None
    assert ours.place != theirs.place


async def test_nothing_is_shown_and_nothing_done_without_a_session(at: Reception) -> None:
    question = await asked(at)
    async with visiting(at, enters=False) as visitor:
        for page in (*PAGES, "live", "alive", "tasks/op_1", "no-such-page"):
            answer = await visitor.get(page)
            assert answer.status_code == 401, page
            assert "till" not in answer.text
        assert (await visitor.send(f"inbox/{question}")).status_code == 401
        assert (await visitor.http.get(visitor.origin)).status_code == 401
        # What is the same for all has no secret.
        assert (await visitor.get("assets/page.css")).status_code == 200
    assert await is_unanswered(at)


OTHER_NAMES = ("elsewhere.example", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.1.nip.io", "")


async def test_another_name_of_this_machine_is_not_answered(at: Reception) -> None:
    async with visiting(at) as visitor:
        for host in OTHER_NAMES:
            answer = await visitor.get("", Host=host)
            assert answer.status_code in (400, 421), host
            assert "Running" not in answer.text


ODD_PATHS = (
    "assets/../../../../etc/passwd",
    "assets/%2e%2e/%2e%2e/guard.py",
    "assets/..%2fguard.py",
    "assets/..\\guard.py",
    "assets//etc/passwd",
    "assets/page.css%00.html",
    "assets/templates",
    "../server.py",
    "tasks/%2e%2e/inbox",
)


async def test_a_path_leads_nowhere_else(at: Reception) -> None:
    async with visiting(at) as visitor:
        place = visitor.site.base.removeprefix(visitor.origin)
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
        port = int(visitor.origin.rpartition(":")[2])
        for path in ODD_PATHS:
            # Written by hand: a client of good manners would tidy it up.
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(
                    f"GET {place}{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                    f"Cookie: {cookie}\r\nConnection: close\r\n\r\n".encode()
                )
                received = b""
                with anyio.fail_after(20):
                    while chunk := await _some(stream):
                        received += chunk
            assert received.split(b"\r\n")[0].split()[1] in (b"400", b"404"), path
            assert b"root:" not in received


async def _some(stream: anyio.abc.ByteReceiveStream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        return b""


# --- Who may act ---------------------------------------------------------------------------------


FROM_ELSEWHERE: tuple[dict[str, str], ...] = (
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another port of this machine
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/json"},
    {"Content-Type": "multipart/form-data; boundary=x"},
)


async def test_a_form_from_elsewhere_is_refused(at: Reception) -> None:
    question = await asked(at)
    async with visiting(at) as visitor:
        for headers in FROM_ELSEWHERE:
            answer = await visitor.send(f"inbox/{question}", headers=headers, decision='"accept"')
            assert answer.status_code == 403, headers
    assert await is_unanswered(at)


async def test_every_form_needs_the_sessions_own_token(at: Reception) -> None:
    question = await asked(at)
    async with visiting(at) as visitor, another(visitor) as other:
        paths = forms(at)
        assert len(paths) >= 8
        for path in paths:
            filled = re.sub(r"{\w+}", question, path)
            for token in ({}, {"token": ""}, {"token": "0" * 64}, {"token": other.token}):
                answer = await visitor.send(filled, token, decision='"accept"', message="x")
                assert answer.status_code == 403, path
    assert await is_unanswered(at)


@asynccontextmanager
async def another(visitor: Visitor) -> AsyncIterator[Visitor]:
    """Another session of the same page."""
    async with httpx2.AsyncClient() as http:
        other = Visitor(http, visitor.site)
        await other.enter()
        assert other.token not in ("", visitor.token)
        yield other


def forms(at: Reception) -> list[str]:
    """Every path that takes a form, from the table of routes itself."""
    guard = make_app(at.desk, Keys("secret", SystemClock()), 1, anyio.Event())
    assert isinstance(guard, Guard)
    (mount,) = (one for one in guard._app.routes if isinstance(one, Mount))  # type: ignore[attr-defined]
    return [
        route.path.removeprefix("/")
        for route in mount.routes
        if isinstance(route, Route) and "POST" in (route.methods or ()) and "rest" not in route.path
    ]


async def test_a_page_that_only_reads_takes_no_form(tmp_path: Path) -> None:
    with reception(tmp_path, threads=True, web="read-only") as at:
        question = await asked(at)
        async with visiting(at) as visitor:
            at.runtime.gone.add(APP_SERVER)
            inbox, health = [(await visitor.get(path)).text for path in ("inbox", "health")]
            assert "What may mend it" in health
            for page in (inbox, health):
                assert "Read-only" in page
                assert '<form method="post"' not in page
            for path in forms(at):
                filled = re.sub(r"{\w+}", question, path)
                answer = await visitor.send(filled, decision='"accept"', message="x")
                assert answer.status_code == 403
        assert await is_unanswered(at)


async def test_where_the_page_is_switched_off_nothing_listens(tmp_path: Path) -> None:
    with reception(tmp_path, threads=True, web="off", web_port=free_port()) as at:
        door = WebDoor(at.desk)
        await door.serve()  # returns at once
        with pytest.raises(InvalidArgument, match="CODEX_MCP_WEB"):
            await door.link()
        with pytest.raises(OSError, match=r"refused|failed"):
            await anyio.connect_tcp("127.0.0.1", at.settings.web_port)


async def test_what_is_no_form_of_ours_is_refused(at: Reception) -> None:
    question = await asked(at)
    async with visiting(at) as visitor:
        headers = {
            "Origin": visitor.origin,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        for body in (b"token", b"\xff=\xff", b"a=1&" * 200, b"token=" + b"x" * 2_000_000):
            address = f"{visitor.site.base}inbox/{question}"
            answer = await visitor.http.post(address, content=body, headers=headers)
            assert answer.status_code in (400, 403), body[:20]
        odd = await visitor.send(f"inbox/{question}", decision="{")
        assert odd.status_code == 400
        never = await visitor.send(f"inbox/{question}", decision='"whatever"')
        assert never.status_code == 400
        assert "must be one of" in never.json()["said"]
    assert await is_unanswered(at)


# --- What a model's words can do -----------------------------------------------------------------


async def test_script_in_words_of_a_model_stays_words(at: Reception) -> None:
    desk, workshop = at.desk, at.workshop
    flow = await desk.workflows.start_plan(
        StartPlan(message=f"plan {EVIL}", title=EVIL[:190], cwd=str(at.project))
    )
    assert flow.plan_operation_id is not None
    await workshop.start(flow.plan_operation_id)
    entries = [Entry(category, EVIL, f"i-{category}") for category in Category]
    await workshop.record(flow.plan_operation_id, entries=entries)
    report = Report(EVIL, TurnId("u-1"), Plan("p-1", f"# Plan\n\n{EVIL}\n\n```\n{EVIL}\n```"))
    await workshop.record(flow.plan_operation_id, Completed(report))
    receipt = await desk.submit(task(at, EVIL))
    await workshop.start(receipt.operation_id, thread="t-2", turn="u-2")
    await workshop.ask(receipt.operation_id, {"command": EVIL, "cwd": EVIL, "reason": EVIL})

    async with visiting(at) as visitor:
        for path in (
            *PAGES,
            "search?q=alert",
            f"search?q={'%22%3E%3Cscript%3E'}",
            f"plans/{flow.workflow_id}",
            f"tasks/{flow.plan_operation_id}",
            f"tasks/{receipt.operation_id}",
            f"tasks?project={'%22%3E%3Cscript%3E'}",
        ):
            html = (await visitor.get(path)).text
            assert is_inert(html), path


def is_inert(html: str) -> bool:
    """No script, style or handler but the page's own files; no picture but its own."""
    tags = re.findall(r"<[a-zA-Z][^>]*>", html)
    scripts = [tag for tag in tags if tag.lower().startswith("<script")]
    pictures = [tag for tag in tags if tag.lower().startswith("<img")]
    return (
        all('src="/' in tag for tag in scripts)
        and len(scripts) == 2
        and all('src="/' in tag for tag in pictures)
        and not any(re.search(r"\s(on\w+|style)\s*=|javascript:", tag) for tag in tags)
        and not any(tag.lower().startswith(("<style", "<iframe", "<object")) for tag in tags)
    )


async def test_every_answer_forbids_what_the_page_does_not_need(at: Reception) -> None:
    async with visiting(at) as visitor:
        for path in (*PAGES, "assets/page.js", "alive", "no-such-page"):
            headers = (await visitor.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert "server" not in headers
        assert (await visitor.get()).headers["cache-control"] == "no-store"


async def test_secrets_are_masked_on_pages_and_in_streams(at: Reception) -> None:
    secret = "sk-" + "a1B2" * 10
    receipt = await at.desk.submit(task(at, f"use {secret}"))
    await at.workshop.start(receipt.operation_id)
    await at.workshop.complete(receipt.operation_id, f"I used {secret}")
    async with visiting(at) as visitor:
        for path in ("", "tasks", f"tasks/{receipt.operation_id}"):
            page = await visitor.get(path)
            assert secret not in page.text
            assert "[redacted]" in page.text


# --- A worker that is never looked at, and one that follows another ------------------------------


def test_a_worker_imports_nothing_of_the_page_before_somebody_comes() -> None:
    names = ["jinja2", "nh3", "markdown_it", "codex_control_plane_mcp.doors.web.app"]
    code = (
        "import sys, codex_control_plane_mcp.app.service; "
        f"print([name for name in {names} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_an_open_page_finds_the_next_worker_with_its_session(at: Reception) -> None:
    async with visiting(at) as visitor:
        before = visitor.site.base
        cookies = dict(visitor.http.cookies)
        token = visitor.token
    assert at.settings.web_file.stat().st_mode & 0o077 == 0
    assert set(json.loads(at.settings.web_file.read_bytes())) == {"port", "secret"}
    question = await asked(at)

    # Nobody asks this one for a link.
    async with served(at, asks=False), httpx2.AsyncClient(cookies=cookies) as http:
        page = await http.get(before)
        assert page.status_code == 200
        assert question in page.text
        assert token in page.text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def test_a_port_of_ones_own_choice_is_kept_to(tmp_path: Path) -> None:
    port = free_port()
    with reception(tmp_path, threads=True, web_port=port) as at:
        async with visiting(at) as visitor:
            assert visitor.origin.endswith(f":{port}")
