"""A long chat in a few lines: made here, or by an endpoint that somebody switched on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.desk import summary
from codex_control_plane_mcp.desk.summary import (
    LONG_CHARS,
    SUMMARY_CHARS,
    Endpoint,
    HistorySummary,
    Said,
    Summaries,
    configured,
)
from codex_control_plane_mcp.settings import load

KEY = "sk-0123456789abcdef0123"
CHAT = (Said("user", "Mend the till."), Said("assistant", "It is mended. " * 1000))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the endpoint is a real one


@dataclass
class Provider:
    """A DeepSeek-compatible endpoint on loopback."""

    url: str = ""
    status: int = 200
    body: bytes = b'{"choices": [{"message": {"content": "The till was mended."}}]}'
    heard: list[dict[str, Any]] = field(default_factory=list)
    authorization: str | None = None


@pytest.fixture
def provider() -> Iterator[Provider]:
    at = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            at.heard.append({"path": self.path, **json.loads(self.rfile.read(length))})
            at.authorization = self.headers["Authorization"]
            self.send_response(at.status)
            self.send_header("Content-Length", str(len(at.body)))
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(at.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    at.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield at
    server.shutdown()
    server.server_close()
    thread.join(10)


def asking(provider: Provider) -> Summaries:
    return Summaries(Endpoint(provider.url, KEY))


async def summed(summaries: Summaries, *chat: Said) -> HistorySummary:
    with anyio.fail_after(30):
        return await summaries.of(chat or CHAT)


async def test_nothing_leaves_this_machine_unless_it_is_switched_on(provider: Provider) -> None:
    environ = {"DEEPSEEK_API_KEY": KEY, "DEEPSEEK_BASE_URL": provider.url}
    made = await summed(configured(load({}), environ))
    assert (made.mode, made.status, made.warning) == ("local", "ok", None)
    assert (made.text or "").splitlines()[:2] == [
        "2 messages, 1 of them by the user.",
        "It began: Mend the till.",
    ]
    assert provider.heard == []


async def test_the_endpoint_is_asked_once_for_the_same_chat(provider: Provider) -> None:
    summaries = asking(provider)
    assert await summed(summaries) == HistorySummary("remote", "ok", "The till was mended.")
    assert await summed(summaries) == HistorySummary("remote", "cached", "The till was mended.")
    (heard,) = provider.heard
    assert heard["path"] == "/v1/chat/completions"
    assert provider.authorization == f"Bearer {KEY}"

    await summed(summaries, *CHAT, Said("user", "And now?"))
    assert len(provider.heard) == 2


async def test_a_short_chat_is_summed_up_here(provider: Provider) -> None:
    made = await summed(asking(provider), Said("user", "x" * (LONG_CHARS - 1)))
    assert made.mode == "local"
    assert provider.heard == []


async def test_what_is_sent_is_bounded_and_bears_no_secret(provider: Provider) -> None:
    long = Said("assistant", "word " * 20_000)
    await summed(asking(provider), Said("user", f"Use ghp_{'a1' * 20}."), long)
    sent = provider.heard[0]["messages"][1]["content"]
    assert sent.startswith("user: Use [redacted].")
    assert "characters left out" in sent
    assert len(sent) < summary.BEGINNING_CHARS + summary.ENDING_CHARS + 100


async def test_what_comes_back_is_bounded_and_bears_no_secret(provider: Provider) -> None:
    told = f"{KEY} " + "x" * 10_000
    provider.body = json.dumps({"choices": [{"message": {"content": told}}]}).encode()
    made = await summed(asking(provider))
    assert made.text is not None
    assert made.text.startswith("[redacted] xxx")
    assert len(made.text) == SUMMARY_CHARS


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "answered 500"),
        (302, b"", "answered 302"),
        (200, b"<html>", "cannot be read"),
        (200, b'{"choices": []}', "cannot be read"),
        (200, b'{"choices": [{"message": {"content": null}}]}', "answered nothing"),
        (200, b"x" * (summary.MAX_ANSWER_BYTES + 1), "too much"),
    ],
)
async def test_an_endpoint_that_fails_costs_a_warning_and_no_more(
    provider: Provider, status: int, body: bytes, said: str
) -> None:
    provider.status, provider.body = status, body
    summaries = asking(provider)
    made = await summed(summaries)
    assert (made.mode, made.status) == ("local", "failed")
    assert made.text is not None
    assert made.text.startswith("2 messages")
    assert made.warning is not None
    assert made.warning.code == "CODEX_SUMMARY_FAILED"
    assert said in made.warning.message

    again = await summed(summaries)
    assert again.warning is not None
    assert "a moment ago" in again.warning.message
    assert len(provider.heard) == 1


async def test_nobody_listening_is_a_warning_too() -> None:
    made = await summed(Summaries(Endpoint("http://127.0.0.1:1", KEY)))
    assert made.warning is not None
    assert "cannot be reached" in made.warning.message


async def test_key_and_url_may_be_in_a_file_of_their_own(
    provider: Provider, tmp_path: Path
) -> None:
    file = tmp_path / "deepseek.env"
    file.write_text(f'# mine\nexport DEEPSEEK_API_KEY="{KEY}"\nDEEPSEEK_BASE_URL={provider.url}/\n')
    settings = load({"DEEPSEEK_SUMMARY_ENABLED": "true", "DEEPSEEK_ENV_PATH": str(file)})
    made = await summed(configured(settings, {}))
    assert (made.mode, provider.authorization) == ("remote", f"Bearer {KEY}")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DEEPSEEK_API_KEY": KEY}, "DEEPSEEK_BASE_URL is missing"),
        ({"DEEPSEEK_BASE_URL": "https://x"}, "DEEPSEEK_API_KEY is missing"),
        ({"DEEPSEEK_API_KEY": KEY, "DEEPSEEK_BASE_URL": "http://example.org"}, "https://"),
        ({"DEEPSEEK_API_KEY": KEY, "DEEPSEEK_BASE_URL": "file:///etc"}, "https://"),
    ],
)
async def test_without_a_key_or_a_safe_url_nothing_is_sent(
    environ: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".env").write_text(f"DEEPSEEK_API_KEY={KEY}\nDEEPSEEK_BASE_URL=https://x\n")
    monkeypatch.chdir(tmp_path)
    made = await summed(configured(load({"DEEPSEEK_SUMMARY_ENABLED": "1"}), environ))
    assert (made.mode, made.status) == ("local", "failed")
    assert made.warning is not None
    assert said in made.warning.message


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    environ = {"DEEPSEEK_SUMMARY_ENABLED": "on", "DEEPSEEK_ENV_PATH": str(tmp_path / "none")}
    made = await summed(configured(load(environ), {}))
    assert made.warning is not None
    assert "DEEPSEEK_ENV_PATH" in made.warning.message


def test_the_key_is_not_in_what_is_printed() -> None:
    assert KEY not in repr(Endpoint("https://x", KEY))
