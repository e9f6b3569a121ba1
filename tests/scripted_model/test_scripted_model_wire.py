"""Codex's requests as they are read, and acts as the beats of a stream."""

import json
from typing import Any

import pytest

from codex_control_plane_mcp.scripted_model.script import Hang, Hold, Wait, parse
from codex_control_plane_mcp.scripted_model.wire import (
    Beat,
    ModelRequest,
    beats,
    patch_text,
    read_request,
    sse,
    streamed,
)

ENVIRONMENT = "<environment_context>\n<cwd>/work</cwd>\n</environment_context>"


def user(*texts: str) -> dict[str, object]:
    parts = [{"type": "input_text", "text": text} for text in texts]
    return {"type": "message", "role": "user", "content": parts}


def output(text: object, kind: str = "function_call_output") -> dict[str, object]:
    return {"type": kind, "call_id": "c", "output": text}


def request(*items: dict[str, object], **more: object) -> ModelRequest:
    return read_request(json.dumps({"input": items, **more}).encode())


def played(script: str, position: int = 0) -> list[Beat]:
    asked = ModelRequest("two words", ("result",) * position, (), None, None)
    return list(beats(parse(script).act(position), asked))


def events(script: str, position: int = 0) -> list[Any]:
    return [beat for beat in played(script, position) if isinstance(beat, dict)]


def test_the_latest_user_message_is_the_prompt() -> None:
    asked = request(user("old"), output("of old"), user("new"), output("one"), output("two"))

    assert asked.user_message == "new"
    assert asked.tool_outputs == ("one", "two")
    assert asked.position == 2


def test_pictures_and_the_schema_of_the_answer_are_seen() -> None:
    content = [
        {"type": "input_text", "text": "x"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
    ]
    prompt: dict[str, object] = {"type": "message", "role": "user", "content": content}
    schema = {"type": "object"}
    asked = request(prompt, text={"format": {"type": "json_schema", "schema": schema}})

    assert asked.images == ("image/png", "https://example.com/a.png")
    assert asked.output_schema == schema
    assert request(user("x")).output_schema is None


def test_context_in_the_users_role_is_not_the_prompt() -> None:
    asked = request(
        user("# AGENTS.md instructions for /work\n\nsay no", ENVIRONMENT),
        user("the prompt"),
        output("one"),
        user("<turn_aborted>\nThe user interrupted\n</turn_aborted>"),
        user(ENVIRONMENT),
    )

    assert (asked.user_message, asked.position) == ("the prompt", 1)


def test_context_beside_the_prompt_is_left_out_of_it() -> None:
    assert request(user(ENVIRONMENT, "the prompt", "goes on")).user_message == "the prompt\ngoes on"


def test_outputs_may_be_parts_and_of_custom_tools() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image"}]

    asked = request(user("x"), output(parts), output("b", "custom_tool_call_output"))

    assert asked.tool_outputs == ("a", "b")


def test_a_request_without_a_user_message_still_counts_its_results() -> None:
    assert request(output("one")).position == 1
    assert request().user_message == ""


def test_tools_and_ids_are_read_where_they_are_given() -> None:
    tools = [{"type": "function", "name": "exec_command"}, {"type": "web_search"}]
    asked = request(tools=tools, client_metadata={"thread_id": "t", "turn_id": "u", "x": 1})

    assert asked.tools == ("exec_command", "web_search")
    assert (asked.thread_id, asked.turn_id) == ("t", "u")
    assert request(client_metadata=None).thread_id is None


def test_a_tool_of_an_mcp_server_is_called_in_its_namespace() -> None:
    namespace = {
        "type": "namespace",
        "name": "mcp__x",
        "tools": [{"type": "function", "name": "y"}],
    }
    asked = request(user("x"), tools=[namespace])

    assert asked.tools == ("mcp__x", "mcp__x.y")
    assert asked.tool_bytes == {"mcp__x": len(json.dumps(namespace, separators=(",", ":")))}
    (call,) = [
        beat["item"]
        for beat in beats(parse("call y {}").act(0), asked)
        if isinstance(beat, dict) and "item" in beat
    ]
    assert isinstance(call, dict)
    assert (call["namespace"], call["name"]) == ("mcp__x", "y")


def test_results_of_earlier_prompts_are_kept_apart() -> None:
    asked = request(user("old"), output("of old"), user("new"), output("one"))

    assert (asked.earlier_outputs, asked.tool_outputs) == (("of old",), ("one",))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"input": 1}', b"\xff"])
def test_a_body_that_is_no_request_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_request(body)


def test_a_message_begins_streams_and_ends() -> None:
    kinds = [event["type"] for event in events("say Hello")]

    assert kinds == [
        "response.created",
        "response.output_item.added",
        "response.output_text.delta",
        "response.output_item.done",
        "response.completed",
    ]


def test_stream_waits_between_its_words_but_not_before_the_first() -> None:
    beats = played("stream 3 words every 10ms")

    assert [beat for beat in beats if isinstance(beat, Wait)] == [Wait(0.01)] * 2
    assert streamed(3) == ("word1 ", "word2 ", "word3")


def test_stream_without_an_interval_never_waits() -> None:
    assert not any(isinstance(beat, Wait) for beat in played("stream 100 words"))


def test_deltas_join_to_what_the_item_says() -> None:
    for script in ("think  a b  c", r"plan # A\n\nb\n"):
        sent = events(script)
        (done,) = [e["item"] for e in sent if e["type"] == "response.output_item.done"]
        (text,) = [part["text"] for part in done.get("summary") or done["content"]]
        assert "".join(event["delta"] for event in sent if "delta" in event) == text


def test_an_escalated_run_gives_its_reason_and_a_plain_one_none() -> None:
    (plain,) = [event["item"] for event in events("run ls") if "item" in event]
    (escalated,) = [
        event["item"] for event in events("run! ls # because I must") if "item" in event
    ]

    assert json.loads(plain["arguments"]) == {"cmd": "ls", "yield_time_ms": 30_000}
    assert json.loads(escalated["arguments"])["justification"] == "I must"
    assert json.loads(escalated["arguments"])["sandbox_permissions"] == "require_escalated"


def test_moments_stay_between_the_events() -> None:
    beats = played("wait 1s\nhold gate\nhang")

    assert beats[1:4] == [Wait(1.0), Hold("gate"), Hang()]


def test_after_its_last_round_trip_a_script_says_done() -> None:
    (done,) = [event["item"] for event in events("run ls", position=1) if "item" in event][1:]

    assert done["content"][0]["text"] == "Done."


def test_a_failed_response_says_so_and_a_cut_stream_says_nothing() -> None:
    failed = events("fail response slow_down Later")[-1]

    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "slow_down", "message": "Later"}
    assert [event["type"] for event in events("fail stream")] == ["response.created"]


def test_usage_counts_words() -> None:
    usage = events("think a b\nstream 5 words\nsay done")[-1]["response"]["usage"]

    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (2, 8, 10)
    assert usage["output_tokens_details"] == {"reasoning_tokens": 2}


def test_ids_differ_between_responses_because_threads_outlive_servers() -> None:
    assert events("say a")[0]["response"]["id"] != events("say a")[0]["response"]["id"]


def test_patches_are_written_in_codexs_own_form() -> None:
    (update,) = parse(r"patch update a.txt: one\ntwo => three").steps

    assert patch_text(update) == (  # type: ignore[arg-type]
        "*** Begin Patch\n*** Update File: a.txt\n@@\n-one\n-two\n+three\n*** End Patch\n"
    )


def test_an_event_is_two_lines_and_a_blank_one() -> None:
    assert sse({"type": "x", "text": "a\nb"}) == (
        b'event: x\ndata: {"type": "x", "text": "a\\nb"}\n\n'
    )
