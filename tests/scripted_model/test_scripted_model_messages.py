"""Claude Code's requests as they are read, and acts as the beats of a Messages stream."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from codex_control_plane_mcp.scripted_model import serving_in_thread
from codex_control_plane_mcp.scripted_model.messages import MESSAGES, beats, read_request
from codex_control_plane_mcp.scripted_model.script import ScriptError, Wait, parse
from codex_control_plane_mcp.scripted_model.wire import Beat, ModelRequest
from tests.scripted_model.test_scripted_model_server import call as post

REMINDER = "<system-reminder>\nsay no\n</system-reminder>"


def user(*texts: str) -> dict[str, object]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def result(content: object) -> dict[str, object]:
    block = {"type": "tool_result", "tool_use_id": "t", "content": content}
    return {"role": "user", "content": [block]}


def request(*messages: dict[str, object], **more: object) -> ModelRequest:
    body = {"model": "m", "messages": messages, "stream": True, **more}
    return read_request(json.dumps(body).encode())


def played(script: str, asked: ModelRequest | None = None) -> list[Beat]:
    return list(beats(parse(script).act(0), asked or request(user("x"))))


def events(script: str, asked: ModelRequest | None = None) -> list[Any]:
    return [beat for beat in played(script, asked) if isinstance(beat, dict)]


def joined(sent: Iterable[Any], part: str) -> str:
    return "".join(event["delta"].get(part, "") for event in sent if "delta" in event)


def test_the_latest_text_of_the_user_is_the_prompt_and_results_are_no_text() -> None:
    asked = request(
        user(REMINDER, "old"),
        result("of old"),
        user("new", REMINDER),
        result([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]),
        {"role": "assistant", "content": "I see."},
        result("two"),
    )

    assert asked.user_message == "new"
    assert asked.tool_outputs == ("a\nb", "two")
    assert asked.earlier_outputs == ("of old",)


def test_what_the_client_says_in_the_users_role_is_no_prompt() -> None:
    assert request(user("<session>\nsay no\n</session>\n\nWrite the title")).user_message == ""
    assert request(user("x"), user("Tool loaded.")).user_message == "x"


def test_tools_are_known_by_name_and_by_what_they_take_of_the_request() -> None:
    asked = request(user("x"), tools=[{"name": "mcp__server__wait", "input_schema": {}}])

    assert asked.tools == ("mcp__server__wait",)
    assert asked.tool_bytes == {"mcp__server__wait": 46}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"model": "m", "messages": 1}'])
def test_a_body_that_is_no_request_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_request(body)


def test_a_message_begins_streams_and_ends() -> None:
    sent = events("say Hello")

    assert [event["type"] for event in sent] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert sent[-2]["delta"]["stop_reason"] == "end_turn"
    assert [MESSAGES.is_last(event) for event in sent] == [False] * 5 + [True]


def test_a_call_goes_by_the_clients_name_for_the_tool() -> None:
    asked = request(user("x"), tools=[{"name": "mcp__codex-control-plane__codex_wait"}])
    sent = events('say Now\ncall codex_wait {"wait_seconds": 1}', asked)

    (use,) = [
        event["content_block"]
        for event in sent
        if event.get("content_block", {}).get("type") == "tool_use"
    ]
    assert use["name"] == "mcp__codex-control-plane__codex_wait"
    assert use["input"] == {}
    assert json.loads(joined(sent, "partial_json")) == {"wait_seconds": 1}
    assert [event["index"] for event in sent if event["type"] == "content_block_start"] == [0, 1]
    assert sent[-2]["delta"]["stop_reason"] == "tool_use"


def test_thoughts_and_words_stream() -> None:
    beats_ = played("think Let me see\nstream 3 words every 10ms")
    sent = [beat for beat in beats_ if isinstance(beat, dict)]

    assert joined(sent, "thinking") == "Let me see"
    assert joined(sent, "text") == "word1 word2 word3"
    assert [beat for beat in beats_ if isinstance(beat, Wait)] == [Wait(0.01)] * 2


def test_failures_are_the_last_that_is_said() -> None:
    assert events("say a\nfail response overloaded_error Later")[-1]["error"]["message"] == "Later"
    assert events("say a\nfail stream")[-1]["type"] == "content_block_stop"


def test_a_request_that_does_not_stream_gets_one_message() -> None:
    asked = request(user("x"), stream=False)
    (message,) = events("think Hm\nplan # A\nstream 2 words\ncall tool {}", asked)

    assert [block["type"] for block in message["content"]] == [
        "thinking",
        "text",
        "text",
        "tool_use",
    ]
    assert message["stop_reason"] == "tool_use"
    assert events("fail response x Later", asked)[0]["error"]["message"] == "Later"
    assert events("fail stream", asked) == []
    assert played("wait 1ms\nsay a", asked)[0] == Wait(0.001)


def test_a_step_of_codexs_own_tools_is_refused() -> None:
    with pytest.raises(ScriptError, match="needs a tool of Codex"):
        played("run ls")


def test_it_is_served_and_a_later_prompt_may_use_an_earlier_result() -> None:
    conversation = [
        user("first"),
        result('{"operationId": "op_1"}'),
        user("say It is ${operationId}"),
    ]
    body = {"model": "m", "stream": False, "messages": conversation}
    with serving_in_thread() as model:
        answer = json.loads(post(f"{model.base_url}/v1/messages", json.dumps(body).encode()))

    assert answer["content"][0]["text"] == "It is op_1"
