"""What receivers get, and what is not sent to them: over real sockets and processes."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId, ProjectId
from codex_control_plane_mcp.model.notice import Event, Notice
from codex_control_plane_mcp.settings import Settings, load
from codex_control_plane_mcp.work import receivers
from codex_control_plane_mcp.work.courier import NotTaken
from codex_control_plane_mcp.work.receivers import body, receivers_of, signed

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOTICE = Notice(
    id="op_1_ended",
    event=Event.OPERATION_ENDED,
    summary="The task is completed.",
    created_at=Moment(1_800_000_000_000),
    operation_id=OperationId("op_1"),
    project_id=ProjectId("house"),
    status="completed",
    text="Ça va.",
)


@dataclass
class Site:
    """A web server that writes down what it is sent."""

    url: str = ""
    status: int = 200
    location: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            site.got.append((self.path, headers, content))
            self.send_response(site.status)
            if site.location:
                self.send_header("location", site.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


def settings_of(**more: object) -> Settings:
    return Settings(state_db=Path("/s"), codex_home=Path("/c"), **more)  # type: ignore[arg-type]


def send(name: str, settings: Settings) -> None:
    receiver = receivers_of(settings)[name]  # type: ignore[index]
    anyio.run(receiver, NOTICE)


def test_nobody_is_told_anything_by_default() -> None:
    assert receivers_of(load({})) == {}


def test_a_webhook_gets_a_notice_that_standard_webhooks_verifies(
    site: Site, secret_file: Path
) -> None:
    settings = settings_of(notices_webhook_url=site.url, notices_webhook_secret_file=secret_file)
    send("webhook", settings)
    send("webhook", settings)
    (path, headers, content), (_, again, same) = site.got
    assert path == "/hook"
    assert json.loads(content) == {
        "id": "op_1_ended",
        "event": "operation.ended",
        "summary": "The task is completed.",
        "createdAt": "2027-01-15T08:00:00.000Z",
        "operationId": "op_1",
        "projectId": "house",
        "status": "completed",
        "text": "Ça va.",
    }
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed_words = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    expected = base64.b64encode(hmac.new(KEY, signed_words, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    # However often it is sent, it is the same.
    assert (again["webhook-id"], same) == (headers["webhook-id"], content)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that the libraries of Standard Webhooks test themselves with."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_redirect_is_not_followed(site: Site, secret_file: Path) -> None:
    with serving() as elsewhere:
        site.status, site.location = 307, elsewhere.url
        with pytest.raises(NotTaken, match="answered 307"):
            send(
                "webhook",
                settings_of(notices_webhook_url=site.url, notices_webhook_secret_file=secret_file),
            )
        assert elsewhere.got == []


def test_why_a_webhook_has_it_not_is_said_without_its_address_or_the_secret(
    site: Site, secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"notices_webhook_url": f"{site.url}?token=hush"}
    settings = settings_of(**where, notices_webhook_secret_file=secret_file)
    site.status = 500
    with pytest.raises(NotTaken) as refused:
        send("webhook", settings)
    assert str(refused.value) == "the webhook answered 500"

    down = settings_of(
        notices_webhook_url="http://127.0.0.1:9/x?token=hush",
        notices_webhook_secret_file=secret_file,
    )
    with pytest.raises(NotTaken) as unreachable:
        send("webhook", down)
    assert "hush" not in str(unreachable.value)

    for words in ("whsec_!!!", "whsec_c2hvcnQ=", ""):
        secret_file.write_text(words)
        with pytest.raises(NotTaken, match="secret") as unusable:
            send("webhook", settings)
        assert not words or words not in str(unusable.value)
    secret_file.unlink()
    with pytest.raises(NotTaken, match="No such file"):
        send("webhook", settings)


def test_who_takes_too_long_has_it_not(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "WEBHOOK_SECONDS", 0.2)

    async def story() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610

        async def hold(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, hold)
            settings = settings_of(
                notices_webhook_url=f"http://127.0.0.1:{port}/",
                notices_webhook_secret_file=secret_file,
            )
            with pytest.raises(NotTaken), anyio.fail_after(30):
                await receivers_of(settings)["webhook"](NOTICE)
            tasks.cancel_scope.cancel()
        await listener.aclose()

    anyio.run(story)


def test_a_command_gets_the_notice_on_its_standard_input(tmp_path: Path) -> None:
    told = tmp_path / "told $(touch x)"
    keep = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
    send("command", settings_of(notices_command=(sys.executable, "-c", keep, str(told))))
    assert told.read_bytes() == body(NOTICE)


def test_a_command_that_fails_or_is_not_there_has_it_not() -> None:
    with pytest.raises(NotTaken, match="exit code 3"):
        send("command", settings_of(notices_command=(sys.executable, "-c", "raise SystemExit(3)")))
    with pytest.raises(NotTaken, match="cannot be run"):
        send("command", settings_of(notices_command=("/no/such/program",)))


def test_a_command_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "COMMAND_SECONDS", 0.5)
    sleep = (sys.executable, "-c", "import time; time.sleep(600)")
    began = time.monotonic()
    with pytest.raises(NotTaken, match=r"did not end in 0\.5 s"):
        send("command", settings_of(notices_command=sleep))
    assert time.monotonic() - began < 60


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="needs notify-send")
def test_the_desktop_shows_words_and_never_runs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotTaken, match="nothing to show it with"):
        send("desktop", settings_of(notices_desktop=True))
    shown = tmp_path / "shown"
    script = tmp_path / "notify-send"
    script.write_text(f'#!/bin/sh\nfor word; do echo "$word"; done > "{shown}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    send("desktop", settings_of(notices_desktop=True))
    assert shown.read_text().splitlines() == [
        "--app-name",
        "Codex",
        "--",
        "Codex",
        "house: The task is completed.",
    ]
