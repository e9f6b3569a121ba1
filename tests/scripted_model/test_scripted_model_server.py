"""The server without Codex: what its HTTP doors and its Python handle do."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after

from codex_control_plane_mcp.scripted_model import (
    ScriptedModel,
    ScriptError,
    serving,
    serving_in_thread,
)

PATIENCE_SECONDS = 10


def call(url: str, body: bytes | None = None, *, method: str | None = None) -> str:
    request = urllib.request.Request(url, body, method=method)  # noqa: S310  (loopback, ours)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:  # noqa: S310
        return str(response.read().decode())


def prompt(text: str) -> bytes:
    content = [{"type": "input_text", "text": text}]
    return json.dumps({"input": [{"type": "message", "role": "user", "content": content}]}).encode()


def respond(model: ScriptedModel, text: str) -> str:
    return call(f"{model.base_url}/v1/responses", prompt(text))


def refusal(model: ScriptedModel, body: bytes) -> tuple[int, Any]:
    with pytest.raises(urllib.error.HTTPError) as raised:
        call(f"{model.base_url}/v1/responses", body)
    with raised.value as error:
        return error.code, json.loads(error.read())["error"]


@contextmanager
def hanging_client(model: ScriptedModel, text: str) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(model.base_url.removeprefix("http://"), timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST", "/v1/responses", prompt(text))
        yield connection
    finally:
        connection.close()


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with serving_in_thread("when review\n  say Looks good") as model:
        yield model


def test_a_prompt_is_answered_and_recorded(model: ScriptedModel) -> None:
    assert "Looks good" in respond(model, "Please review")

    model.idle().wait()
    (request,) = json.loads(call(f"{model.base_url}/requests"))
    assert request["user_message"] == "Please review"
    assert request["step"] == 0
    assert request["outcome"] == "played"
    assert model.requests[0].as_json() == request | {
        "tool_outputs": (),
        "tools": (),
        "images": (),
    }


def test_a_failing_status_is_an_http_error_with_its_code(model: ScriptedModel) -> None:
    status, error = refusal(model, prompt("wait 1ms\nfail 503 server_is_overloaded Too much"))

    assert (status, error["code"], error["message"]) == (503, "server_is_overloaded", "Too much")
    model.idle().wait()
    assert model.requests[0].outcome == "failed"


def test_a_script_mistake_and_a_broken_body_are_told_apart(model: ScriptedModel) -> None:
    assert refusal(model, prompt("wait long"))[1]["code"] == "script_error"
    assert refusal(model, b"{}")[1]["code"] == "invalid_request"
    assert [request.user_message for request in model.requests] == ["wait long"]


def test_another_process_can_await_and_release_a_hold(model: ScriptedModel) -> None:
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(respond, model, "hold gate\nsay Open") for _ in range(3)]
        call(f"{model.base_url}/arrived/gate?times=3")
        assert [request.outcome for request in model.requests] == ["playing"] * 3

        call(f"{model.base_url}/release/gate", method="POST")

        assert all("Open" in answer.result(PATIENCE_SECONDS) for answer in answers)
    call(f"{model.base_url}/idle")


def test_a_released_hold_stays_open(model: ScriptedModel) -> None:
    model.release("gate")

    assert "Open" in respond(model, "hold gate\nsay Open")
    model.arrived("gate").wait()


def test_a_client_that_leaves_a_hold_does_not_open_or_break_it(model: ScriptedModel) -> None:
    with hanging_client(model, "hold gate\nsay First"):
        model.arrived("gate").wait()
    model.idle().wait()
    assert model.requests[0].outcome == "client gone"

    with ThreadPoolExecutor() as pool:
        answer = pool.submit(respond, model, "hold gate\nsay Second")
        model.arrived("gate", times=2).wait()
        model.release("gate")
        assert "Second" in answer.result(PATIENCE_SECONDS)


def test_stopping_ends_whatever_hangs_and_disappoints_whoever_waits() -> None:
    with ExitStack() as still_there:
        with serving_in_thread() as model:
            never = model.requested("something that nobody asks")
            client = still_there.enter_context(hanging_client(model, "hang"))
            model.arrived("hang").wait()
        assert b"response.completed" not in client.getresponse().read()
    with pytest.raises(ConnectionAbortedError):
        never.wait()
    with pytest.raises(ConnectionAbortedError):
        model.arrived("anything").wait()


def test_waiting_for_what_does_not_come_ends_with_a_timeout(model: ScriptedModel) -> None:
    with pytest.raises(TimeoutError):
        model.arrived("never").wait(timeout_seconds=0)


def test_models_can_be_listed(model: ScriptedModel) -> None:
    (known,) = json.loads(call(f"{model.base_url}/v1/models"))["data"]
    assert known["id"] == "scripted"


def test_a_mistaken_playbook_is_refused_before_anything_is_served() -> None:
    with pytest.raises(ScriptError, match="script line 1"), serving_in_thread("greet"):
        pass


@pytest.mark.anyio
async def test_asyncio_tests_await_the_same_moments() -> None:
    async with serving() as model:
        with hanging_client(model, "hold gate"), fail_after(PATIENCE_SECONDS):
            await model.requested("gate")
            await model.arrived("gate")
        with fail_after(PATIENCE_SECONDS):
            await model.idle()


@pytest.mark.anyio
async def test_a_moment_that_does_not_come_can_be_given_up() -> None:
    async with serving() as model:
        with pytest.raises(TimeoutError), fail_after(0):
            await model.arrived("never")


COMMAND = [sys.executable, "-m", "codex_control_plane_mcp.scripted_model"]


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def ready(child: subprocess.Popen[bytes]) -> Any:
    assert child.stdout is not None
    return json.loads(child.stdout.readline())


def test_as_a_process_it_says_where_it_serves_and_plays_the_file(tmp_path: Path) -> None:
    script = tmp_path / "playbook.txt"
    script.write_text("say From the file")
    with process("--script", str(script)) as child:
        told = ready(child)

        assert told["pid"] == child.pid
        assert "From the file" in call(f"{told['base_url']}/v1/responses", prompt("Hi"))


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_process_it_ends_cleanly_on_a_signal(signal_number: int) -> None:
    with process() as child:
        ready(child)
        child.send_signal(signal_number)

        assert child.wait(PATIENCE_SECONDS) == 0


def test_as_a_process_it_may_end_with_its_stdin() -> None:
    with process("--until-stdin-closes") as child:
        ready(child)
        assert child.stdin is not None
        child.stdin.close()

        assert child.wait(PATIENCE_SECONDS) == 0


def test_as_a_process_it_says_what_is_wrong_with_its_file(tmp_path: Path) -> None:
    script = tmp_path / "playbook.txt"
    script.write_text("greet")

    finished = subprocess.run(
        [*COMMAND, "--script", str(script)], capture_output=True, timeout=30, check=False
    )

    assert finished.returncode == 2
    assert b"script line 1: 'greet' is not a step" in finished.stderr
