"""The dialect of Claude Code: a script's act as Anthropic's Messages.

Pure, as `wire` is, and to the same measure: only what Claude Code uses is here. Its tools are its
own, so the only tool step is `call`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, TypeAdapter

from codex_control_plane_mcp.scripted_model.script import (
    Call,
    FailResponse,
    FailStatus,
    FailStream,
    Hang,
    Hold,
    Plan,
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
    json_bytes,
    sse,
    streamed,
    without_codex,
)

MODEL = "scripted"
#: What Claude Code itself puts into the user's role: hints, the session that it wants a title for,
#: and that a search has found a tool. Nobody asks anything there.
CONTEXT_OPENINGS = ("<system-reminder>", "<session>", "Tool loaded.")


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Block(_Loose):
    type: str
    text: str = ""
    #: Of a tool's result.
    content: str | list["_Block"] = ""


class _Message(_Loose):
    role: str
    content: str | list[_Block]

    @property
    def blocks(self) -> list[_Block]:
        if isinstance(self.content, str):
            return [_Block(type="text", text=self.content)]
        return self.content


class _Body(_Loose):
    model: str
    messages: list[_Message]
    tools: list[dict[str, Any]] = []
    stream: bool = False


_BODY = TypeAdapter(_Body)


def read_request(body: bytes) -> ModelRequest:
    """Raises ValueError when the body is no Messages request."""
    parsed = _BODY.validate_json(body)
    earlier, prompt, following = _latest_prompt(parsed.messages)
    return ModelRequest(
        user_message=prompt,
        tool_outputs=_outputs(following),
        earlier_outputs=_outputs(earlier),
        tools=tuple(str(tool["name"]) for tool in parsed.tools),
        tool_bytes={str(tool["name"]): json_bytes(tool) for tool in parsed.tools},
        thread_id=None,
        turn_id=None,
        streams=parsed.stream,
    )


def _latest_prompt(messages: list[_Message]) -> tuple[list[_Message], str, list[_Message]]:
    """What was before, what the user said last, and what came of it so far."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "user" and (asked := _asked(messages[index])):
            return messages[:index], asked, messages[index:]
    return [], "", messages


def _asked(message: _Message) -> str:
    texts = (block.text for block in message.blocks if block.text)
    return "\n".join(text for text in texts if not text.lstrip().startswith(CONTEXT_OPENINGS))


def _outputs(messages: list[_Message]) -> tuple[str, ...]:
    blocks = (block for message in messages for block in message.blocks)
    return tuple(_text(block.content) for block in blocks if block.type == "tool_result")


def _text(content: str | list[_Block]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if block.text)


# A script's act, as beats.


def beats(act: Iterable[Step], request: ModelRequest) -> Iterator[Beat]:
    """The whole answer. Raises ScriptError for a tool of Codex."""
    steps = without_codex(act)
    return (_in_events if request.streams else _in_one_piece)(steps, request)


def is_last(event: Event) -> bool:
    return event["type"] in {"message_stop", "message", "error"}


MESSAGES = Dialect(read_request, beats, sse, is_last)


def _in_events(steps: tuple[Step, ...], request: ModelRequest) -> Iterator[Beat]:
    usage = _usage(steps, request)
    yield {"type": "message_start", "message": _message([], None, {**usage, "output_tokens": 0})}
    for index, step in enumerate(steps):
        match step:
            case Wait() | Hold() | Hang():
                yield step
            case FailResponse(code, message):
                yield {"type": "error", **error_body(code, message)}
                return
            case FailStream() | FailStatus():
                return
            case _:
                yield from _block_events(index, step, request)
    stop = {"stop_reason": _reason(steps[-1]), "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": usage}
    yield {"type": "message_stop"}


def _block_events(index: int, step: Step, request: ModelRequest) -> Iterator[Beat]:
    block = _block(step, request)
    match block["type"]:
        case "tool_use":
            start = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        case "thinking":
            start = {**block, "thinking": "", "signature": ""}
            words = re.findall(r"\s*\S+", block["thinking"])
            deltas = [{"type": "thinking_delta", "thinking": word} for word in words]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case _:
            start = {**block, "text": ""}
            texts = streamed(step.words) if isinstance(step, Stream) else (block["text"],)
            deltas = [{"type": "text_delta", "text": text} for text in texts]
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for number, delta in enumerate(deltas):
        if number and isinstance(step, Stream) and step.every_seconds:
            yield Wait(step.every_seconds)
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _in_one_piece(steps: tuple[Step, ...], request: ModelRequest) -> Iterator[Beat]:
    """For a request that does not stream: the moments pass, then all is there at once."""
    content: list[Event] = []
    for step in steps:
        match step:
            case Wait() | Hold() | Hang():
                yield step
            case FailResponse(code, message):
                yield {"type": "error", **error_body(code, message)}
                return
            case FailStream() | FailStatus():
                return
            case _:
                content.append(_block(step, request))
    yield _message(content, _reason(steps[-1]), _usage(steps, request))


def _block(step: Step, request: ModelRequest) -> dict[str, Any]:
    match step:
        case Say(text):
            return {"type": "text", "text": text}
        case Stream(words):
            return {"type": "text", "text": "".join(streamed(words))}
        case Plan(markdown):
            return {"type": "text", "text": markdown}
        case Think(text):
            return {"type": "thinking", "thinking": text, "signature": "scripted"}
        case Call(tool, arguments):
            name = request.offered(tool)
            return {
                "type": "tool_use",
                "id": f"toolu_{uuid4().hex}",
                "name": name,
                "input": json.loads(arguments),
            }
        case _:
            raise AssertionError(f"no part of a message: {step}")


def _message(content: list[Event], reason: str | None, usage: Event) -> Event:
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        # Claude Code knows what its models can do by their names, and shows this one.
        "model": MODEL,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _reason(last: Step) -> str:
    return "tool_use" if isinstance(last, Call) else "end_turn"


def _usage(steps: tuple[Step, ...], request: ModelRequest) -> Event:
    used = Usage.of(steps, request)
    return {"input_tokens": used.read, "output_tokens": used.written}
