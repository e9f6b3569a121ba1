"""The arguments of each tool: strict, snake_case, and refused by name.

Parsed once, here. What they mean together is the desk's to judge.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from codex_control_plane_mcp.desk.submit import MAX_NAME_CHARS
from codex_control_plane_mcp.desk.texts import unwritable
from codex_control_plane_mcp.desk.wait import MAX_WAIT_SECONDS, Until
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    MAX_MESSAGE_CHARS,
    CollaborationMode,
    DedupPolicy,
    ImageDetail,
    Priority,
)

#: Nobody nests arguments deeper; who does wants to see us fall over.
MAX_DEPTH = 64

#: Taken, and documented, but not in what an agent is shown.
UNLISTED: Final[JsonDict] = {"unlisted": True}

A = TypeVar("A", bound="Arguments")

# A strict enum would want the enum's member, which JSON does not have.
_Submitted = Literal["start_chat", "send_message", "execute_plan", "steer_turn", "fork_thread"]
_Sandbox = Annotated[Sandbox, Field(strict=False)]
_Approval = Annotated[ApprovalPolicy, Field(strict=False)]
_Mode = Annotated[CollaborationMode, Field(strict=False)]
_Priority = Annotated[Priority, Field(strict=False)]
_Dedup = Annotated[DedupPolicy, Field(strict=False)]
_Until = Annotated[Until, Field(strict=False)]
_Status = Annotated[InteractionStatus, Field(strict=False)]
#: The desk checks these too, and calls them by its own names.
_Prompt = Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE_CHARS)]
_Id = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
_Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS)]


class Arguments(BaseModel):
    """An explicit null is the same as an argument left out."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ForkConfig(Arguments):
    last_turn_id: str | None = None


class TextItem(Arguments):
    type: Literal["text"]
    text: str


class LocalImageItem(Arguments):
    type: Literal["local_image", "localImage"]
    path: str
    detail: ImageDetail | None = None


class ImageItem(Arguments):
    type: Literal["image", "image_url", "imageUrl"]
    url: str
    detail: ImageDetail | None = None


_InputItem = Annotated[TextItem | LocalImageItem | ImageItem, Field(discriminator="type")]


class SubmitTask(Arguments):
    operation_type: _Submitted
    message: str | None = Field(None, description="Needed but for execute_plan, fork_thread")
    input_items: list[_InputItem] | None = Field(
        None,
        description="{type: local_image, path}, {type: image, url} or {type: text, text}",
    )
    client_request_id: str | None = Field(
        None, description="Your id for this task; the same id again never starts a second one"
    )
    project_id: str | None = Field(None, description="Id, path or exact name")
    cwd: str | None = Field(None, description="Absolute folder, instead of project_id")
    thread_id: str | None = None
    chat_id: str | None = Field(None, description="Same as thread_id", json_schema_extra=UNLISTED)
    title: str | None = None
    model: str | None = None
    sandbox: _Sandbox | None = None
    approval_policy: _Approval | None = None
    source_thread_id: str | None = Field(None, description="For fork_thread")
    fork_config: ForkConfig | None = None
    expected_turn_id: str | None = Field(None, description="For steer_turn: the running turn")
    workflow_id: str | None = Field(
        None, description="For send_message, steer_turn: instead of the thread; revises its plan"
    )
    collaboration_mode: _Mode | None = None
    agent_id: str | None = None
    resource_keys: list[str] | None = Field(
        None, description="Paths of the project to work on alone; src covers src/api"
    )
    priority: _Priority | None = None
    dedup_policy: _Dedup | None = None
    ephemeral: bool | None = None
    output_schema: dict[str, Any] | None = Field(
        None, description="Strict JSON schema of finalReport.structured"
    )
    worktree: bool | None = Field(None, description="start_chat: in a new git worktree")
    host: str | None = None
    host_labels: list[str] | None = Field(None, description="The host must have them all")
    timeout_seconds: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Never limits the task", json_schema_extra=UNLISTED
    )


class ThreadAction(Arguments):
    thread_id: str


class CompactionStatus(Arguments):
    action_id: str
    wait_seconds: _Wait | None = None


class GetOperationStatus(Arguments):
    operation_id: str
    wait_seconds: _Wait | None = Field(
        None, description="Return when it has ended or asks, or then"
    )
    after_seq: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Only events behind this nextAfterSeq; waits for one"
    )
    last_messages: Annotated[int, Field(ge=0, le=20)] | None = None
    message_max_chars: Annotated[int, Field(ge=1, le=6000)] | None = None
    progress_events: Annotated[int, Field(ge=0, le=50)] | None = None
    progress_max_chars: Annotated[int, Field(ge=1, le=4000)] | None = None
    report_offset: Annotated[int, Field(ge=0)] | None = Field(
        None, description="finalReport.nextOffset"
    )


class Wait(Arguments):
    operation_ids: Annotated[list[str], Field(max_length=50)] | None = None
    workflow_ids: Annotated[list[str], Field(max_length=50)] | None = None
    wait_seconds: _Wait | None = None
    cursor: str | None = Field(None, description="From the last call with the same ids")
    until: _Until | None = Field(
        None,
        description="attention (default): something has ended, or wants an answer or a decision; "
        "change: at each other status, too",
        json_schema_extra=UNLISTED,
    )


class ListPendingInteractions(Arguments):
    operation_id: str | None = None
    workflow_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    status: _Status | None = None
    limit: Annotated[int, Field(ge=1, le=50)] | None = None
    cursor: str | None = None


class AnswerPendingInteraction(Arguments):
    interaction_id: str
    decision: str | None = Field(None, description="One of availableDecisions")
    decision_payload: dict[str, Any] | None = Field(
        None, description="Instead: an object of availableDecisions"
    )
    answers: dict[str, str | list[str]] | None = Field(
        None, description="user_input: text or texts for each question id"
    )
    action: str | None = Field(None, description="elicitation: accept, decline or cancel")
    content: dict[str, Any] | None = Field(None, description="elicitation: the form")
    permissions: dict[str, Any] | None = Field(
        None, description="permissions: those asked for, or fewer"
    )
    scope: Literal["turn", "session"] | None = None


class InterruptTurn(Arguments):
    operation_id: str | None = None
    workflow_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None


class ListProjects(Arguments):
    refresh: bool | None = Field(None, json_schema_extra=UNLISTED)
    limit: Annotated[int, Field(ge=1, le=200)] | None = None
    roots: list[str] | None = Field(None, description="Only below these folders")
    include_private_details: bool | None = None


class HealthSummary(Arguments):
    operation_id: str | None = None
    workflow_id: str | None = None
    thread_id: str | None = None
    max_recent_errors: Annotated[int, Field(ge=0, le=20)] | None = None


class Starting(Arguments):
    """What the older calls that start a turn share. Who knows them knows their options; others are
    better served by `codex_submit_task`, which lists them."""

    message: str
    client_request_id: str | None = None
    model: str | None = Field(None, json_schema_extra=UNLISTED)
    sandbox: _Sandbox | None = Field(None, json_schema_extra=UNLISTED)
    approval_policy: _Approval | None = Field(None, json_schema_extra=UNLISTED)
    collaboration_mode: _Mode | None = Field(None, json_schema_extra=UNLISTED)
    timeout_seconds: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="How long to wait for the turn to start, at most 40",
        json_schema_extra=UNLISTED,
    )


class StartChat(Starting):
    project_id: str | None = None
    cwd: str | None = None
    title: str | None = Field(None, json_schema_extra=UNLISTED)


class SendMessage(Starting):
    chat_id: _Id
    project_id: str | None = Field(None, json_schema_extra=UNLISTED)
    cwd: str | None = Field(None, json_schema_extra=UNLISTED)


class CodexConfig(Arguments):
    model_reasoning_effort: str | None = None


class Codex(Arguments):
    """The native server's names. Those that cannot be honoured take nothing but null, and their
    description says what to do instead."""

    prompt: _Prompt
    cwd: str | None = Field(None, description="Absolute folder")
    model: str | None = None
    sandbox: _Sandbox | None = None
    approval_policy: _Approval | None = Field(None, alias="approval-policy")
    config: CodexConfig | None = None
    profile: None = Field(None, description="give model, sandbox and approval-policy")
    base_instructions: None = Field(
        None, alias="base-instructions", description="say it in the prompt or in AGENTS.md"
    )
    developer_instructions: None = Field(
        None, alias="developer-instructions", description="say it in the prompt or in AGENTS.md"
    )
    compact_prompt: None = Field(
        None, alias="compact-prompt", description="set compact_prompt in Codex's config.toml"
    )
    include_plan_tool: None = Field(
        None, alias="include-plan-tool", description="leave it out, Codex has its plan tool anyway"
    )


class CodexReply(Arguments):
    prompt: _Prompt
    thread_id: _Id | None = Field(None, alias="threadId")
    conversation_id: _Id | None = Field(
        None, alias="conversationId", description="Older name of threadId"
    )


# --- Parsing -------------------------------------------------------------------------------------


def parse(model: type[A], arguments: Mapping[str, object]) -> A:
    """Raises InvalidArgument that names the argument and what is wrong with it."""
    _refuse_unwritable(arguments)
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        problems = [_problem(model, dict(one)) for one in error.errors(include_url=False)]
        field, _ = problems[0]
        raise InvalidArgument("; ".join(said for _, said in problems[:3]), field=field) from error


def given(arguments: Arguments, *names: str) -> dict[str, Any]:
    """Those of the named arguments that were given."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _problem(model: type[Arguments], error: Mapping[str, Any]) -> tuple[str, str]:
    place = error["loc"]
    field = ".".join(str(part) for part in place) or "arguments"
    match error["type"]:
        case "extra_forbidden" if len(place) > 1:
            return field, f"`{field}` is not known here"
        case "extra_forbidden":
            outer, taken = schema_of(model, unlisted=True), "it takes"
            for part in place[:-1]:
                outer, taken = outer["properties"][part], f"`{part}` takes"
            known = ", ".join(outer.get("properties", ())) or "none"
            return field, f"`{field}` is not an argument of this tool; {taken}: {known}"
        case "missing":
            return field, f"`{field}` is required"
        case "none_required":
            instead = model.model_json_schema()["properties"][field]["description"]
            return field, f"`{field}` cannot be honoured here: {instead}"
        case _:
            said = error["msg"].removeprefix("Input ").removeprefix("String ")
            return field, f"`{field}` {said[:1].lower()}{said[1:]}"


def _refuse_unwritable(arguments: Mapping[str, object]) -> None:
    """NUL, lone surrogates and endless depth, anywhere in the arguments."""
    waiting: list[tuple[str, object, int]] = [("", arguments, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"`{name}` is nested too deeply", field=name)
        match value:
            case str():
                _refuse_text(name, value)
            case dict():
                for key, item in value.items():
                    _refuse_text(name or "an argument's name", key)
                    waiting.append((name or str(key), item, depth + 1))
            case list():
                waiting += [(name, item, depth + 1) for item in value]
            case _:
                pass


def _refuse_text(name: str, text: str) -> None:
    if problem := unwritable(text):
        raise InvalidArgument(f"`{name}` {problem}", field=name)


# --- Schema --------------------------------------------------------------------------------------


def schema_of(model: type[Arguments], *, unlisted: bool = False) -> dict[str, Any]:
    """The JSON schema of the arguments, without what a reader does not need: titles, nulls, that
    others are refused (a refusal names those that are taken)."""
    schema = model.model_json_schema()
    listed = _object(schema, schema.get("$defs", {}), unlisted=unlisted)
    # MCP recommends to say of a tool without arguments that it takes none.
    return listed if listed["properties"] else {"type": "object", "additionalProperties": False}


def _object(
    schema: Mapping[str, Any], named: Mapping[str, Any], *, unlisted: bool = False
) -> dict[str, Any]:
    required = schema.get("required", [])
    return {
        "type": "object",
        "properties": {
            name: _plain(one, named)
            for name, one in schema["properties"].items()
            if one.get("type") != "null" and (unlisted or not one.get("unlisted"))
        },
        **({"required": required} if required else {}),
    }


#: No lower bounds: nobody means a negative number, and who does is told.
_TELLING = ("type", "enum", "const", "description", "maximum", "maxItems")


def _plain(schema: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: schema[key] for key in _TELLING if key in schema}
    if "const" in plain:
        plain.pop("type")
    if "$ref" in schema:  # an enum, or arguments within an argument
        target = named[schema["$ref"].rpartition("/")[2]]
        choices = {key: target[key] for key in ("type", "enum") if key in target}
        plain = (_object(target, named) if "properties" in target else choices) | plain
    if "discriminator" in schema:  # one of several objects; a description says which
        plain["type"] = "object"
    if "items" in schema:
        plain["items"] = _plain(schema["items"], named)
    for part in schema.get("anyOf", ()):
        if part != {"type": "null"}:
            plain = _plain(part, named) | plain
    return plain
