"""What the conformance suite wants to find at a server under test, beside what ours has: tools,
resources and prompts of every shape. They go the SDK's way; nothing of them is in the product."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    SamplingMessage,
    SetLevelRequestParams,
    TextContent,
    TextResourceContents,
)

from tests.conformance.jobs import NAME, said

Context = ServerRequestContext[Any]
ToolCall = Callable[[Context, CallToolRequestParams], Awaitable[Any]]

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
PICTURE = ImageContent(data=PNG, mime_type="image/png")


def _embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


# --- Tools that answer at once -------------------------------------------------------------------

CONTENT: Mapping[str, list[Any]] = {
    "test_simple_text": [TextContent(text="This is a simple text response for testing.")],
    "test_image_content": [PICTURE],
    "test_audio_content": [AudioContent(data=WAV, mime_type="audio/wav")],
    "test_embedded_resource": [
        _embedded("test://embedded-resource", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        TextContent(text="Multiple content types test:"),
        PICTURE,
        _embedded(
            "test://mixed-content-resource", '{"test":"data","value":123}', "application/json"
        ),
    ],
    "json_schema_2020_12_tool": [TextContent(text="json_schema_2020_12_tool")],
    "test_x_mcp_header": [TextContent(text="region")],
}


async def _error_handling(_context: Context, _params: CallToolRequestParams) -> CallToolResult:
    text = TextContent(text="This tool intentionally returns an error for testing")
    return CallToolResult(content=[text], is_error=True)


async def _logging(context: Context, _params: CallToolRequestParams) -> CallToolResult:
    for said_now in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message(
            "info", said_now, related_request_id=context.request_id
        )
        await anyio.sleep(0.05)
    return said("Tool with logging executed successfully")


async def _progress(context: Context, _params: CallToolRequestParams) -> CallToolResult:
    for step in (0, 50, 100):
        await context.session.report_progress(step, 100, f"Completed step {step} of 100")
        await anyio.sleep(0.05)
    return said("done")


async def _sampling(context: Context, params: CallToolRequestParams) -> CallToolResult:
    prompt = str((params.arguments or {}).get("prompt"))
    result = await context.session.create_message(
        messages=[SamplingMessage(role="user", content=TextContent(text=prompt))],
        max_tokens=100,
        related_request_id=context.request_id,
    )
    return said(f"LLM response: {getattr(result.content, 'text', '')}")


def _elicits(schema: dict[str, Any], message: str) -> ToolCall:
    async def elicit(context: Context, params: CallToolRequestParams) -> CallToolResult:
        shown = str((params.arguments or {}).get("message") or message)
        reply = await context.session.elicit_form(shown, schema, context.request_id)
        return said(f"User response: action={reply.action}, content={json.dumps(reply.content)}")

    return elicit


async def _missing_capability(context: Context, _params: CallToolRequestParams) -> CallToolResult:
    declared = context.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this tool needs sampling",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return said("declared")


async def _reconnection(context: Context, _params: CallToolRequestParams) -> CallToolResult:
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await anyio.sleep(0.2)
    return said("Reconnection test completed")


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


RESPONSE = {**_object(response={"type": "string"}), "required": ["response"]}
DEFAULTS = _object(
    name={"type": "string", "default": "John Doe"},
    age={"type": "integer", "default": 30},
    score={"type": "number", "default": 95.5},
    status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    verified={"type": "boolean", "default": True},
)
ENUMS = _object(
    untitledSingle={"type": "string", "enum": ["active", "inactive", "pending"]},
    titledSingle={
        "type": "string",
        "oneOf": [{"const": one, "title": one.title()} for one in ("low", "medium", "high")],
    },
    untitledMulti={
        "type": "array",
        "items": {"type": "string", "enum": ["read", "write", "execute"]},
    },
    titledMulti={
        "type": "array",
        "items": {"anyOf": [{"const": one, "title": one.title()} for one in ("bug", "docs")]},
    },
    legacyEnum={
        "type": "string",
        "enum": ["small", "medium", "large"],
        "enumNames": ["Small Size", "Medium Size", "Large Size"],
    },
)


# --- Tools that want input (2026-07-28) ----------------------------------------------------------


def _ask(message: str, schema: dict[str, Any]) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(text: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=text))
    params = CreateMessageRequestParams(messages=[message], max_tokens=50)
    return CreateMessageRequest(params=params)


async def _wants_name(_context: Context, params: CallToolRequestParams) -> Any:
    match (params.input_responses or {}).get("user_name"):
        case ElicitResult(content={"name": name}):
            return said(f"Hello, {name}!")
        case _:
            return InputRequiredResult(input_requests={"user_name": _ask("Your name?", NAME)})


async def _wants_sample(_context: Context, params: CallToolRequestParams) -> Any:
    match (params.input_responses or {}).get("capital_question"):
        case CreateMessageResult(content=TextContent(text=text)):
            return said(f"Model said: {text}")
        case _:
            question = _sample("What is the capital of France?")
            return InputRequiredResult(input_requests={"capital_question": question})


async def _wants_roots(_context: Context, params: CallToolRequestParams) -> Any:
    match (params.input_responses or {}).get("client_roots"):
        case ListRootsResult(roots=roots):
            return said(f"Client exposed {len(roots)} root(s).")
        case _:
            return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})


OK = {**_object(ok={"type": "boolean"}), "required": ["ok"]}


async def _wants_state(_context: Context, params: CallToolRequestParams) -> Any:
    if params.request_state == "a nonce" and "confirm" in (params.input_responses or {}):
        return said("state-ok: confirmation received")
    return InputRequiredResult(
        input_requests={"confirm": _ask("Please confirm", OK)}, request_state="a nonce"
    )


async def _wants_three(_context: Context, params: CallToolRequestParams) -> Any:
    requests: dict[str, Any] = {
        "user_name": _ask("Your name?", NAME),
        "greeting": _sample("Generate a greeting"),
        "client_roots": ListRootsRequest(),
    }
    if set(requests) <= set(params.input_responses or {}):
        return said("All inputs received.")
    return InputRequiredResult(input_requests=requests, request_state="three")


COLOR = {**_object(color={"type": "string"}), "required": ["color"]}


async def _wants_twice(_context: Context, params: CallToolRequestParams) -> Any:
    brought = params.input_responses or {}
    match params.request_state, brought.get("step1"), brought.get("step2"):
        case "1", ElicitResult(content={"name": name}), _:
            color = _ask("Step 2: your favourite colour?", COLOR)
            return InputRequiredResult(input_requests={"step2": color}, request_state=f"2 {name}")
        case str(state), _, ElicitResult(content={"color": color}) if state.startswith("2 "):
            return said(f"{state[2:]} likes {color}.")
        case _:
            name = _ask("Step 1: your name?", NAME)
            return InputRequiredResult(input_requests={"step1": name}, request_state="1")


async def _wants_by_capability(context: Context, _params: CallToolRequestParams) -> Any:
    declared = context.session.client_capabilities
    requests: dict[str, Any] = {}
    if declared is None or declared.sampling is not None:
        requests["sample"] = _sample("Say hello")
    if declared is None or declared.elicitation is not None:
        requests["ask"] = _ask("Your name?", NAME)
    return InputRequiredResult(input_requests=requests, request_state="by capability")


TOOLS: Mapping[str, ToolCall] = {
    "test_error_handling": _error_handling,
    "test_tool_with_logging": _logging,
    "test_tool_with_progress": _progress,
    "test_sampling": _sampling,
    "test_elicitation": _elicits(RESPONSE, "Please answer"),
    "test_elicitation_sep1034_defaults": _elicits(DEFAULTS, "Please provide user information"),
    "test_elicitation_sep1330_enums": _elicits(ENUMS, "Please select values"),
    "test_missing_capability": _missing_capability,
    "test_reconnection": _reconnection,
    "test_input_required_result_elicitation": _wants_name,
    "test_input_required_result_sampling": _wants_sample,
    "test_input_required_result_list_roots": _wants_roots,
    "test_input_required_result_request_state": _wants_state,
    "test_input_required_result_multiple_inputs": _wants_three,
    "test_input_required_result_multi_round": _wants_twice,
    "test_input_required_result_tampered_state": _wants_state,
    "test_input_required_result_capabilities": _wants_by_capability,
}

#: The keywords of JSON Schema 2020-12 must arrive as they were sent.
SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            **_object(street={"type": "string"}, city={"type": "string"}),
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "json_schema_2020_12_tool": SCHEMA_2020_12,
    "test_x_mcp_header": _object(region={"type": "string", "x-mcp-header": "Region"}),
    "test_sampling": _object(prompt={"type": "string"}),
    "test_elicitation": _object(message={"type": "string"}),
}


# --- Resources and prompts -----------------------------------------------------------------------

RESOURCES = [
    Resource(name=name, uri=f"test://{name}", mime_type=mime_type)
    for name, mime_type in {
        "static-text": "text/plain",
        "static-binary": "image/png",
        "watched-resource": "text/plain",
    }.items()
]
TEMPLATES = [ResourceTemplate(name="data", uri_template="test://template/{id}/data")]


async def read(_context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
    match str(params.uri).removeprefix("test://").split("/"):
        case ["static-text" | "watched-resource"]:
            text = "This is the content of the static text resource."
            contents: Any = TextResourceContents(uri=params.uri, mime_type="text/plain", text=text)
        case ["static-binary"]:
            contents = BlobResourceContents(uri=params.uri, mime_type="image/png", blob=PNG)
        case ["template", id_, "data"]:
            text = json.dumps({"id": id_, "templateTest": True, "data": f"Data for ID: {id_}"})
            contents = TextResourceContents(uri=params.uri, mime_type="application/json", text=text)
        case _:
            raise MCPError(INVALID_PARAMS, "Resource not found", {"uri": str(params.uri)})
    return ReadResourceResult(contents=[contents])


def _prompt(name: str, *arguments: str) -> Prompt:
    given = [PromptArgument(name=one, description=one, required=True) for one in arguments]
    return Prompt(name=name, description=f"fixture {name}", arguments=given)


PROMPTS = [
    _prompt("test_simple_prompt"),
    _prompt("test_prompt_with_arguments", "arg1", "arg2"),
    _prompt("test_prompt_with_embedded_resource", "resourceUri"),
    _prompt("test_prompt_with_image"),
    _prompt("test_input_required_result_prompt"),
]
CONTEXT = {**_object(context={"type": "string"}), "required": ["context"]}


async def prompt(_context: Context, params: GetPromptRequestParams) -> Any:
    given = params.arguments or {}
    match params.name:
        case "test_simple_prompt":
            content: list[Any] = [TextContent(text="This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            text = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
            content = [TextContent(text=text)]
        case "test_prompt_with_embedded_resource":
            embedded = _embedded(given["resourceUri"], "Embedded resource content for testing.")
            content = [embedded, TextContent(text="Please process the embedded resource above.")]
        case "test_prompt_with_image":
            content = [PICTURE, TextContent(text="Please analyze the image above.")]
        case _:
            match (params.input_responses or {}).get("user_context"):
                case ElicitResult(content={"context": said_there}):
                    content = [TextContent(text=f"Use the following context: {said_there}")]
                case _:
                    asked: dict[str, Any] = {"user_context": _ask("What context?", CONTEXT)}
                    return InputRequiredResult(input_requests=asked)
    return GetPromptResult(messages=[PromptMessage(role="user", content=one) for one in content])


async def complete(_context: Context, _params: CompleteRequestParams) -> CompleteResult:
    return CompleteResult(completion=Completion(values=[], total=0, has_more=False))


async def set_level(_context: Context, _params: SetLevelRequestParams) -> EmptyResult:
    return EmptyResult()
