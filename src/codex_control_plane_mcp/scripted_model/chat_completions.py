"""The dialect of clients other than Codex: a script's act as OpenAI's Chat Completions.

Pure, as `wire` is, and to the same measure: only what agents such as Hermes and OpenClaw use is
here. The tools of these clients are their own, so the only tool step is `call`.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from codex_control_plane_mcp.scripted_model.script import (
    Ask,
    Call,
    FailResponse,
    FailStatus,
    FailStream,
    Hang,
    Hold,
    PatchAdd,
    PatchDelete,
    PatchUpdate,
    Plan,
    Run,
    Say,
    Step,
    Stream,
    Think,
    Wait,
)
from codex_control_plane_mcp.scripted_model.wire import (
    Beat,
    Dialect,
    Event,
    ModelRequest,
    Usage,
    error_body,
    streamed,
    without_codex,
)

MODEL = "scripted"
#: More than any agent wants to have before it agrees to work.
_CONTEXT_TOKENS = 272_000
#: What `GET /v1/models` says in this API.
MODEL_LISTING: Event = {
    "object": "list",
    "data": [
        {
            "id": MODEL,
            "object": "model",
            "created": 0,
            "owned_by": "scripted",
            "context_length": _CONTEXT_TOKENS,
        }
    ],
}

#: What an agent itself puts into the user's role: nobody asks anything there.
CONTEXT_OPENINGS = ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>",)


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Picture(_Loose):
    url: str


class _Part(_Loose):
    text: str = ""
    image_url: _Picture | None = None


class _Message(_Loose):
    role: str
    content: str | list[_Part] | None = None


class _Function(_Loose):
    name: str


class _Tool(_Loose):
    function: _Function


class _Schema(_Loose):
    schema_: dict[str, object] | None = Field(None, alias="schema")


class _Format(_Loose):
    json_schema: _Schema | None = None


class _Body(_Loose):
    messages: list[_Message]
    tools: list[_Tool] | None = None
    stream: bool | None = None
    response_format: _Format | None = None


_BODY = TypeAdapter(_Body)


def read_request(body: bytes) -> ModelRequest:
    """Raises ValueError when the body is no Chat Completions request."""
    parsed = _BODY.validate_json(body)
    prompt, following = _latest_prompt(parsed.messages)
    pictures = [part.image_url.url for part in _parts(prompt) if part.image_url]
    form = parsed.response_format.json_schema if parsed.response_format else None
    return ModelRequest(
        user_message=_text(prompt),
        tool_outputs=tuple(_text(one) for one in following if one.role == "tool"),
        tools=tuple(tool.function.name for tool in parsed.tools or ()),
        thread_id=None,
        turn_id=None,
        images=tuple(url.removeprefix("data:").partition(";base64,")[0] for url in pictures),
        output_schema=form.schema_ if form else None,
        streams=parsed.stream or False,
    )


def _latest_prompt(messages: list[_Message]) -> tuple[_Message, list[_Message]]:
    for index in range(len(messages) - 1, -1, -1):
        asked = _text(messages[index]).lstrip() if messages[index].role == "user" else ""
        if asked and not asked.startswith(CONTEXT_OPENINGS):
            return messages[index], messages[index + 1 :]
    return _Message(role="user"), messages


def _parts(message: _Message) -> Iterable[_Part]:
    content = message.content
    return (_Part(text=content),) if isinstance(content, str) else content or ()


def _text(message: _Message) -> str:
    return "\n".join(part.text for part in _parts(message) if part.text)


# A script's act, as beats.


def beats(act: Iterable[Step], request: ModelRequest) -> Iterator[Beat]:
    """The whole answer, in chunks or in one piece. Raises ScriptError for a tool of Codex."""
    steps = without_codex(act)
    return (_in_chunks if request.streams else _in_one_piece)(steps, request)


def sse(event: Event) -> bytes:
    written = f"data: {json.dumps(event)}\n\n"
    return f"{written}data: [DONE]\n\n".encode() if is_last(event) else written.encode()


def is_last(event: Event) -> bool:
    return "usage" in event or "error" in event


CHAT_COMPLETIONS = Dialect(read_request, beats, sse, is_last)


def _in_chunks(steps: tuple[Step, ...], request: ModelRequest) -> Iterator[Beat]:
    head = _head("chat.completion.chunk")

    def chunk(delta: Event, reason: str | None = None) -> Event:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": ""})
    for beat in _beats_of(steps):
        yield beat if isinstance(beat, Wait | Hold | Hang) else chunk(beat)
    match steps[-1]:
        case FailResponse(code, message):
            yield error_body(code, message)
        case FailStream():
            return
        case last:
            yield {**chunk({}, _reason(last)), "usage": _usage(steps, request)}


def _in_one_piece(steps: tuple[Step, ...], request: ModelRequest) -> Iterator[Beat]:
    """For a client that does not stream: the moments pass, then all is there at once."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for beat in _beats_of(steps):
        if isinstance(beat, Wait | Hold | Hang):
            yield beat
            continue
        for name, more in beat.items():
            message[name] = message[name] + more if name in message else more
    match steps[-1]:
        case FailResponse(code, message_):
            yield error_body(code, message_)
        case FailStream():
            return
        case last:
            choice = {"index": 0, "message": message, "finish_reason": _reason(last)}
            usage = _usage(steps, request)
            yield {**_head("chat.completion"), "choices": [choice], "usage": usage}


def _beats_of(steps: tuple[Step, ...]) -> Iterator[Beat]:
    """What is added to the message, and the moments between."""
    said = False
    for step in steps:
        if isinstance(step, Say | Stream | Plan):
            if said:
                yield {"content": "\n\n"}
            said = True
        yield from _beats_of_one(step)


def _beats_of_one(step: Step) -> Iterator[Beat]:
    match step:
        case Say(text):
            yield {"content": text}
        case Stream(words, every_seconds):
            for number, word in enumerate(streamed(words)):
                if every_seconds and number:
                    yield Wait(every_seconds)
                yield {"content": word}
        case Plan(markdown):
            yield {"content": f"<proposed_plan>\n{markdown}\n</proposed_plan>"}
        case Think(text):
            for word in re.findall(r"\s*\S+", text):
                yield {"reasoning_content": word}
        case Call(tool, arguments):
            call = {"index": 0, "id": f"call_{uuid4().hex}", "type": "function"}
            yield {"tool_calls": [{**call, "function": {"name": tool, "arguments": arguments}}]}
        case Wait() | Hold() | Hang():
            yield step
        case Run() | Ask() | PatchAdd() | PatchUpdate() | PatchDelete():
            raise AssertionError(f"refused before: {step}")
        case FailResponse() | FailStream() | FailStatus():
            return


def _head(kind: str) -> Event:
    made_at = int(time.time())
    return {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": made_at, "model": MODEL}


def _reason(last: Step) -> str:
    return "tool_calls" if isinstance(last, Call) else "stop"


def _usage(steps: tuple[Step, ...], request: ModelRequest) -> Event:
    used = Usage.of(steps, request)
    return {
        "prompt_tokens": used.read,
        "completion_tokens": used.written,
        "total_tokens": used.read + used.written,
        "completion_tokens_details": {"reasoning_tokens": used.thought},
    }
