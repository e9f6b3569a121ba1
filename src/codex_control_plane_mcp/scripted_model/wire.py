"""The wire: what Codex's request says, and a script's act as the events of a Responses stream.

Pure: it reads bytes and yields beats. `server` plays them in time. Only the part of the Responses
API that Codex uses is here; it is no general fake of it. What another API needs to be played, too,
is a `Dialect`.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self
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
    Patch,
    PatchAdd,
    PatchDelete,
    PatchUpdate,
    Plan,
    Question,
    Run,
    Say,
    ScriptError,
    Step,
    Stream,
    Think,
    Wait,
    line,
)

Event = Mapping[str, object]
#: What playing is made of: an event to send, or a moment to let pass.
Beat = Event | Wait | Hold | Hang

#: What Codex itself puts into the user's role. Nobody asks anything there, so it starts no script.
#: A goal's continuation or a stop hook's reason is not in this list: those do ask for an answer.
CONTEXT_OPENINGS = (
    "# AGENTS.md instructions",
    "<environment_context>",
    "<permissions instructions>",
    "<recommended_plugins>",
    "<skill>",
    "<subagent_notification>",
    "<turn_aborted>",
    "<user_instructions>",
    "<user_shell_command>",
)

#: Exec waits this long before it says "still running": a step's command ends within its step.
YIELD_MILLISECONDS = 30_000


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request of a client, as far as the script cares."""

    user_message: str
    #: What came back for the tool steps of this prompt; their number is the position in the script.
    tool_outputs: tuple[str, ...]
    #: Tools in a namespace, where Codex has those of an MCP server, as `namespace.name`.
    tools: tuple[str, ...]
    thread_id: str | None
    turn_id: str | None
    #: What tools answered to earlier prompts of the conversation, oldest first.
    earlier_outputs: tuple[str, ...] = ()
    #: What each tool, or namespace of tools, takes of the request: bytes of JSON.
    tool_bytes: Mapping[str, int] = field(default_factory=dict)
    #: The pictures of the prompt: their kinds (`image/png`) where they came along, else addresses.
    images: tuple[str, ...] = ()
    #: The schema that the final answer must have.
    output_schema: Mapping[str, object] | None = None
    #: Codex always does; without it the answer is one JSON object.
    streams: bool = True

    @property
    def position(self) -> int:
        return len(self.tool_outputs)

    def offered(self, tool: str) -> str:
        """The client's name for a tool: before an MCP tool's own it puts that of the server."""
        if tool in self.tools:
            return tool
        return next((one for one in self.tools if one.endswith((f".{tool}", f"__{tool}"))), tool)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one API of model providers asks and answers."""

    #: Raises ValueError when the body is no request of this API.
    read: Callable[[bytes], ModelRequest]
    #: The answer to one request, `FailStatus` excepted: that one is no stream at all. Raises
    #: ScriptError when it cannot be said in this API.
    beats: Callable[[Iterable[Step], ModelRequest], Iterator[Beat]]
    #: An event as a part of the stream.
    sse: Callable[[Event], bytes]
    #: With this event all is said; a client may hang up before the stream itself ends.
    is_last: Callable[[Event], bool]


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Part(_Loose):
    type: str = ""
    text: str = ""
    image_url: str | None = None


class _Item(_Loose):
    type: str = "message"
    role: str | None = None
    content: str | list[_Part] | None = None
    output: str | list[_Part] | None = None


class _Tool(_Loose):
    type: str
    name: str | None = None
    #: Those of a namespace.
    tools: list["_Tool"] = []

    @property
    def names(self) -> Iterator[str]:
        own = self.name or self.type
        yield own
        for tool in self.tools:
            yield from (f"{own}.{name}" for name in tool.names)


class _Metadata(_Loose):
    thread_id: str | None = None
    turn_id: str | None = None


class _Format(_Loose):
    schema_: dict[str, object] | None = Field(None, alias="schema")


class _TextSettings(_Loose):
    format: _Format | None = None


class _Body(_Loose):
    input: list[_Item]
    tools: list[dict[str, object]] = []
    text: _TextSettings | None = None
    client_metadata: _Metadata | None = None


_BODY = TypeAdapter(_Body)
_TOOLS = TypeAdapter(list[_Tool])


def read_request(body: bytes) -> ModelRequest:
    """Raises ValueError when the body is no Responses request."""
    parsed = _BODY.validate_json(body)
    tools = _TOOLS.validate_python(parsed.tools)
    earlier, prompt, following = _latest_prompt(parsed.input)
    metadata = parsed.client_metadata or _Metadata()
    form = parsed.text.format if parsed.text else None
    return ModelRequest(
        user_message=_asked(prompt),
        tool_outputs=_outputs(following),
        earlier_outputs=_outputs(earlier),
        tools=tuple(name for tool in tools for name in tool.names),
        tool_bytes={
            next(tool.names): json_bytes(written)
            for tool, written in zip(tools, parsed.tools, strict=True)
        },
        thread_id=metadata.thread_id,
        turn_id=metadata.turn_id,
        images=_images(prompt),
        output_schema=form.schema_ if form else None,
    )


_OUTPUT_ITEMS = frozenset({"function_call_output", "custom_tool_call_output"})


def json_bytes(written: object) -> int:
    return len(json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode())


def _outputs(items: list[_Item]) -> tuple[str, ...]:
    return tuple(_text(item.output) for item in items if item.type in _OUTPUT_ITEMS)


def _latest_prompt(items: list[_Item]) -> tuple[list[_Item], _Item, list[_Item]]:
    """What was before, what the user said last, and what came of it so far."""
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if item.type == "message" and item.role == "user" and _asked(item):
            return items[:index], item, items[index + 1 :]
    return [], _Item(), items


def _images(item: _Item) -> tuple[str, ...]:
    parts = () if isinstance(item.content, str) else item.content or ()
    addresses = [part.image_url for part in parts if part.image_url]
    return tuple(one.removeprefix("data:").partition(";base64,")[0] for one in addresses)


def _asked(item: _Item) -> str:
    parts = [item.content] if isinstance(item.content, str) else _texts(item.content)
    return "\n".join(part for part in parts if not part.lstrip().startswith(CONTEXT_OPENINGS))


def _text(content: str | list[_Part] | None) -> str:
    return content if isinstance(content, str) else "\n".join(_texts(content))


def _texts(content: list[_Part] | None) -> list[str]:
    return [part.text for part in content or () if part.text]


# A script's act, as beats.


def without_codex(act: Iterable[Step]) -> tuple[Step, ...]:
    """An act for a client whose tools are its own. Raises ScriptError for a tool of Codex."""
    steps = tuple(act) or CLOSING
    for step in steps:
        if isinstance(step, Run | Ask | PatchAdd | PatchUpdate | PatchDelete):
            raise ScriptError(f"`{line(step)}` needs a tool of Codex; write `call TOOL {{...}}`")
    return steps


def beats(act: Iterable[Step], request: ModelRequest) -> Iterator[Beat]:
    """The whole response to one request, FailStatus excepted: that one is no stream at all."""
    steps = tuple(act) or CLOSING
    response_id = _new_id("resp")
    yield {"type": "response.created", "response": {"id": response_id}}
    for step in steps:
        yield from _beats_of(step, response_id, request)
    if not isinstance(steps[-1], FailResponse | FailStream):
        yield _completed(response_id, steps, request)


#: After its last tool step the script has no more to say, but its client waits for a final message.
CLOSING = (Say("Done."),)


def _beats_of(step: Step, response_id: str, request: ModelRequest) -> Iterator[Beat]:
    match step:
        case Say(text):
            yield from _message((text,))
        case Stream(words, every_seconds):
            yield from _message(streamed(words), every_seconds)
        case Plan(markdown):
            lines = (*markdown.splitlines(keepends=True), "\n")
            yield from _message(("<proposed_plan>\n", *lines, "</proposed_plan>"))
        case Think(text):
            yield from _reasoning(text)
        case Run():
            yield _function_call("exec_command", json.dumps(_exec_arguments(step)))
        case Ask(questions):
            asked = [_question(number, q) for number, q in enumerate(questions, start=1)]
            yield _function_call("request_user_input", json.dumps({"questions": asked}))
        case Call(tool, arguments):
            yield _function_call(request.offered(tool), arguments)
        case PatchAdd() | PatchUpdate() | PatchDelete():
            yield _custom_call("apply_patch", patch_text(step))
        case Wait() | Hold() | Hang():
            yield step
        case FailResponse(code, message):
            error = {"code": code, "message": message}
            failed = {"id": response_id, "status": "failed", "error": error}
            yield {"type": "response.failed", "response": failed}
        case FailStream() | FailStatus():
            return


def streamed(words: int) -> tuple[str, ...]:
    """The deltas of a `stream` step; a reader who joins them can tell whether one is missing."""
    return tuple(f"word{number}{' ' if number < words else ''}" for number in range(1, words + 1))


def error_body(code: str, message: str) -> Event:
    return {"error": {"type": code, "code": code, "message": message}}


def sse(event: Event) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def is_last(event: Event) -> bool:
    return event["type"] in {"response.completed", "response.failed"}


RESPONSES = Dialect(read_request, beats, sse, is_last)


def _message(chunks: Iterable[str], every_seconds: float = 0.0) -> Iterator[Beat]:
    item = {"type": "message", "role": "assistant", "id": _new_id("msg")}
    yield _added({**item, "status": "in_progress", "content": []})
    sent: list[str] = []
    for chunk in chunks:
        if every_seconds and sent:
            yield Wait(every_seconds)
        yield {
            "type": "response.output_text.delta",
            "item_id": item["id"],
            "output_index": 0,
            "content_index": 0,
            "delta": chunk,
        }
        sent.append(chunk)
    content = [{"type": "output_text", "text": "".join(sent), "annotations": []}]
    yield _done({**item, "status": "completed", "content": content})


def _reasoning(text: str) -> Iterator[Beat]:
    item = {"type": "reasoning", "id": _new_id("rs")}
    part = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
    yield _added({**item, "summary": []})
    yield {
        "type": "response.reasoning_summary_part.added",
        **part,
        "part": {"type": "summary_text", "text": ""},
    }
    for word in re.findall(r"\s*\S+", text):
        yield {"type": "response.reasoning_summary_text.delta", **part, "delta": word}
    summary = [{"type": "summary_text", "text": text}]
    yield _done({**item, "summary": summary, "encrypted_content": None})


def _function_call(tool: str, arguments: str) -> Event:
    namespace, _, name = tool.rpartition(".")
    call = {"type": "function_call", "id": _new_id("fc"), "call_id": _new_id("call")}
    whose = {"namespace": namespace} if namespace else {}
    return _done({**call, **whose, "name": name, "arguments": arguments, "status": "completed"})


def _custom_call(tool: str, text: str) -> Event:
    call = {"type": "custom_tool_call", "id": _new_id("ctc"), "call_id": _new_id("call")}
    return _done({**call, "name": tool, "input": text, "status": "completed"})


def _exec_arguments(step: Run) -> dict[str, object]:
    arguments: dict[str, object] = {"cmd": step.command, "yield_time_ms": YIELD_MILLISECONDS}
    if step.because is not None:
        arguments["sandbox_permissions"] = "require_escalated"
        arguments["justification"] = step.because
    return arguments


def _question(number: int, question: Question) -> dict[str, object]:
    return {
        "id": f"q{number}",
        "header": f"Question {number}",
        "question": question.text,
        "options": [{"label": o.label, "description": o.description} for o in question.options],
    }


def patch_text(patch: Patch) -> str:
    """The patch in the form of Codex's own apply_patch tool."""
    return "\n".join(["*** Begin Patch", *_change(patch), "*** End Patch", ""])


def _change(patch: Patch) -> list[str]:
    match patch:
        case PatchAdd(path, text):
            return [f"*** Add File: {path}", *_marked("+", text)]
        case PatchUpdate(path, old, new):
            return [f"*** Update File: {path}", "@@", *_marked("-", old), *_marked("+", new)]
        case PatchDelete(path):
            return [f"*** Delete File: {path}"]


def _marked(sign: str, text: str) -> list[str]:
    return [f"{sign}{line}" for line in text.split("\n")]


def _added(item: Mapping[str, object]) -> Event:
    return {"type": "response.output_item.added", "output_index": 0, "item": item}


def _done(item: Mapping[str, object]) -> Event:
    return {"type": "response.output_item.done", "output_index": 0, "item": item}


def _completed(response_id: str, steps: Iterable[Step], request: ModelRequest) -> Event:
    used = Usage.of(steps, request)
    usage = {
        "input_tokens": used.read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": used.written,
        "output_tokens_details": {"reasoning_tokens": used.thought},
        "total_tokens": used.read + used.written,
    }
    response = {"id": response_id, "status": "completed", "output": [], "usage": usage}
    return {"type": "response.completed", "response": response}


@dataclass(frozen=True, slots=True)
class Usage:
    """In words, not tokens: what matters is that the same script always costs the same."""

    read: int
    thought: int
    #: With what was thought.
    written: int

    @classmethod
    def of(cls, steps: Iterable[Step], request: ModelRequest) -> Self:
        steps = tuple(steps)
        read = len(request.user_message.split()) + sum(len(o.split()) for o in request.tool_outputs)
        thought = sum(len(step.text.split()) for step in steps if isinstance(step, Think))
        return cls(read, thought, thought + sum(map(_words, steps)))


def _words(step: Step) -> int:
    match step:
        case Say(text) | Plan(text) | Run(text):
            return len(text.split())
        case Stream(words):
            return words
        case _:
            return 0


def _new_id(kind: str) -> str:
    # Codex keeps these ids with the thread, which may outlive this server: a count would repeat.
    return f"{kind}_{uuid4().hex}"
