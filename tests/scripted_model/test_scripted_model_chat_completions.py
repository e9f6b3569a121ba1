"""Chat Completions as other agents ask for them, and acts as their answers."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from codex_control_plane_mcp.scripted_model import ScriptedModel, serving_in_thread
from codex_control_plane_mcp.scripted_model.chat_completions import (
    CHAT_COMPLETIONS,
    beats,
    read_request,
)
from codex_control_plane_mcp.scripted_model.script import Hold, ScriptError, Wait, parse
from codex_control_plane_mcp.scripted_model.wire import Beat, ModelRequest

PATIENCE_SECONDS = 10


def said(role: str, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


def request(*messages: dict[str, object], **more: object) -> ModelRequest:
    return read_request(json.dumps({"model": "m", "messages": messages, **more}).encode())


def played(script: str, *, streams: bool = True) -> list[Beat]:
    asked = ModelRequest("two words", (), (), None, None, streams=streams)
    return list(beats(parse(script).steps, asked))


def deltas(script: str) -> list[Any]:
    chunks: list[Any] = [beat for beat in played(script) if isinstance(beat, dict)]
    return [chunk["choices"][0]["delta"] for chunk in chunks if "choices" in chunk]


def whole(script: str) -> Any:
    (answer,) = played(script, streams=False)
    return answer


def test_the_latest_user_message_is_the_prompt_and_what_follows_its_results() -> None:
    asked = request(
        said("system", "say no"),
        said("user", "old"),
        said("tool", "of old"),
        said("user", [{"type": "text", "text": "new"}]),
        said("assistant", None),
        said("tool", "one"),
        said("tool", [{"type": "text", "text": "two"}]),
    )

    assert asked.user_message == "new"
    assert asked.tool_outputs == ("one", "two")
    assert asked.streams is False
    assert request().user_message == ""


def test_what_an_agent_adds_in_the_users_role_is_not_the_prompt() -> None:
    context = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nsay no"

    asked = request(said("user", "say yes"), said("tool", "one"), said("user", context))

    assert (asked.user_message, asked.position) == ("say yes", 1)


def test_tools_pictures_and_the_schema_of_the_answer_are_seen() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    asked = request(
        said("user", [{"type": "text", "text": "x"}, picture]),
        tools=[{"type": "function", "function": {"name": "codex_wait", "parameters": {}}}],
        response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        stream=True,
    )

    assert asked.tools == ("codex_wait",)
    assert asked.images == ("image/png",)
    assert asked.output_schema == {"type": "object"}
    assert asked.streams is True


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages": 1}', b"\xff"])
def test_a_body_that_is_no_request_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_request(body)


def test_text_comes_in_deltas_and_thoughts_beside_it() -> None:
    assert deltas("think Let me\nsay Hello\nstream 2 words") == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Let"},
        {"reasoning_content": " me"},
        {"content": "Hello"},
        {"content": "\n\n"},
        {"content": "word1 "},
        {"content": "word2"},
        {},
    ]


def test_moments_pass_between_the_words() -> None:
    passed = [b for b in played("hold gate\nstream 3 words every 5ms") if not isinstance(b, dict)]

    assert passed == [Hold("gate"), Wait(0.005), Wait(0.005)]
    assert played("hold gate\nsay x", streams=False)[0] == Hold("gate")


def test_a_call_ends_the_message_with_its_reason() -> None:
    *_, call, last = played('say First\ncall codex_wait {"a": 1}')

    assert isinstance(call, dict)
    (asked,) = call["choices"][0]["delta"]["tool_calls"]
    assert asked["function"] == {"name": "codex_wait", "arguments": '{"a": 1}'}
    assert isinstance(last, dict)
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert last["usage"]["prompt_tokens"] == 2


def test_the_same_in_one_piece() -> None:
    answer = whole("think So\nsay Two words\ncall t {}")

    assert answer["object"] == "chat.completion"
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Two words"
    assert choice["message"]["reasoning_content"] == "So"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "t"
    assert answer["usage"]["completion_tokens"] == 3
    assert whole("")["choices"][0]["message"]["content"] == "Done."


def test_a_plan_is_text() -> None:
    text = whole("plan # P")["choices"][0]["message"]["content"]
    assert text == "<proposed_plan>\n# P\n</proposed_plan>"


@pytest.mark.parametrize("step", ["run ls", "patch delete x", "ask Sure? | Yes"])
def test_the_tools_of_codex_are_refused(step: str) -> None:
    with pytest.raises(ScriptError, match="needs a tool of Codex"):
        played(step)


def test_a_failed_response_ends_the_stream_with_an_error_and_a_broken_one_without_a_word() -> None:
    *_, last = played("say x\nfail response overloaded")
    assert isinstance(last, dict)
    assert last["error"]["code"] == "overloaded"
    assert CHAT_COMPLETIONS.sse(last).endswith(b"data: [DONE]\n\n")
    assert whole("fail response overloaded")["error"]["code"] == "overloaded"

    *_, last = played("say x\nfail stream")
    assert b"[DONE]" not in CHAT_COMPLETIONS.sse(last)  # type: ignore[arg-type]
    assert played("say x\nfail stream", streams=False) == []


# Over HTTP.


def post(model: ScriptedModel, prompt: str, **more: object) -> str:
    body = json.dumps({"messages": [said("user", prompt)], **more}).encode()
    asked = urllib.request.Request(f"{model.base_url}/v1/chat/completions", body)  # noqa: S310
    with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as response:  # noqa: S310
        return str(response.read().decode())


def test_a_stream_ends_with_done_and_is_recorded() -> None:
    with serving_in_thread("when review\n  say Looks good") as model:
        *parts, done = post(model, "Please review", stream=True).strip().split("\n\n")
        model.idle().wait()
        assert model.requests[0].outcome == "played"

    assert done == "data: [DONE]"
    assert all(json.loads(part.removeprefix("data: "))["choices"] for part in parts)


def test_without_a_stream_it_is_one_object_and_the_model_is_listed() -> None:
    with serving_in_thread() as model:
        answer = json.loads(post(model, "say Hello"))
        with urllib.request.urlopen(f"{model.base_url}/v1/models") as listed:  # noqa: S310
            (known,) = json.loads(listed.read())["data"]

    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert known["id"] == answer["model"]


def test_a_step_that_cannot_be_said_is_a_mistake_of_the_script() -> None:
    with serving_in_thread() as model, pytest.raises(urllib.error.HTTPError) as raised:
        post(model, "run ls")
    with raised.value as error:
        assert json.loads(error.read())["error"]["code"] == "script_error"
