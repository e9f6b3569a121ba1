"""Three prompts that a person may pick: delegate a task to Codex, have work reviewed, look how
things stand. They only say which tools to use, and how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)

from codex_control_plane_mcp.doors.mcp.fit import MAX_RESULT_CHARS
from codex_control_plane_mcp.doors.presentable import presentable_text

Given = Mapping[str, str]

_WHERE = PromptArgument(
    name="project",
    description="Id, exact name or absolute folder; else you are asked",
    required=False,
)
_ASK_WHERE = "Not said: use codex_list_projects, and ask me if it is not clear."
_SEE_IT_THROUGH = """\
codex_wait with the operationId, again with its cursor, until it is final. Silence is normal: do \
not submit again. When Codex asks something (codex_list_pending_interactions), show me command, \
cwd, reason and riskSummary and let me decide; never answer an approval yourself."""


def _delegate(given: Given) -> str:
    return f"""\
Delegate this task to Codex, and see it through.

Task:
{given["task"]}

Where: {given.get("project") or _ASK_WHERE}
Sandbox: {given.get("sandbox") or "read-only, unless files must change; then ask me first"}

1. codex_preflight_project_run. If a check failed, tell me what to do, and stop.
2. codex_submit_task with operation_type "start_chat", the task as message, and a \
client_request_id of your own: with the same one the call may be made again after any doubt.
3. {_SEE_IT_THROUGH}
4. Read finalReport to its end, and tell me what was done, what was not, and what I should look \
at. Only status "completed" is a success."""


def _review(given: Given) -> str:
    return f"""\
Have Codex review code, and tell me what matters.

What: {given.get("target") or "the uncommitted changes"}
Where: {given.get("project") or _ASK_WHERE}
Look for: {given.get("focus") or "bugs, security, missing tests"}

1. codex_start_review_workflow with the target_type that fits (uncommitted_changes, base_branch, \
commit, or custom with instructions) and a client_request_id of your own.
2. codex_get_workflow_status with wait_seconds, until the review has ended. Silence is normal.
3. List the findings by severity, each with file and line, and say which you would mend first. \
Change nothing yourself."""


def _status(given: Given) -> str:
    operation_id = given.get("operation_id")
    if operation_id:
        look = f"codex_get_operation_status with operation_id {operation_id}"
    else:
        look = "codex_health_summary, and codex_list_pending_interactions"
    return f"""\
Tell me how my Codex work stands. Look only: submit, answer and stop nothing.

1. {look}.
2. In a few lines: what runs and for how long it has been quiet, what waits for me (show command, \
cwd and reason), what ended and how, and what you would do next. A status of \
unknown_after_app_server_exit is no success: say so."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    listed: Prompt
    text: Callable[[Given], str]


_PROMPTS = {
    one.listed.name: one
    for one in (
        _Prompt(
            Prompt(
                name="delegate",
                title="Delegate a task to Codex",
                description="Submit a task, answer what Codex asks, bring back the report",
                arguments=[
                    PromptArgument(name="task", description="What shall be done", required=True),
                    _WHERE,
                    PromptArgument(
                        name="sandbox",
                        description="read-only, workspace-write or danger-full-access",
                        required=False,
                    ),
                ],
            ),
            _delegate,
        ),
        _Prompt(
            Prompt(
                name="review",
                title="Have Codex review code",
                description="Start a review, and sum up what it finds",
                arguments=[
                    PromptArgument(
                        name="target",
                        description="Uncommitted changes (default), a branch, a commit, or words",
                        required=False,
                    ),
                    _WHERE,
                    PromptArgument(name="focus", description="What to look for", required=False),
                ],
            ),
            _review,
        ),
        _Prompt(
            Prompt(
                name="status",
                title="How Codex work stands",
                description="What runs, what waits for you, what ended",
                arguments=[
                    PromptArgument(
                        name="operation_id", description="One task; else all", required=False
                    ),
                ],
            ),
            _status,
        ),
    )
}


async def list_prompts(
    _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
) -> ListPromptsResult:
    return ListPromptsResult(prompts=[one.listed for one in _PROMPTS.values()])


async def get_prompt(
    _context: ServerRequestContext[Any], params: GetPromptRequestParams
) -> GetPromptResult:
    prompt = _PROMPTS.get(params.name)
    if prompt is None:
        raise _wrong(f"there is no prompt {params.name!r}; there are: {', '.join(_PROMPTS)}")
    given = {name: text.strip() for name, text in (params.arguments or {}).items()}
    known = prompt.listed.arguments or []
    if unknown := sorted(set(given) - {one.name for one in known}):
        raise _wrong(f"{', '.join(unknown)} is no argument of the prompt {params.name}")
    if missing := [one.name for one in known if one.required and not given.get(one.name)]:
        raise _wrong(f"the prompt {params.name} needs {', '.join(missing)}")
    text = presentable_text(prompt.text(given))
    if len(text) > MAX_RESULT_CHARS:
        raise _wrong(f"the prompt would have {len(text)} characters: at most {MAX_RESULT_CHARS}")
    message = PromptMessage(role="user", content=TextContent(text=text))
    return GetPromptResult(description=prompt.listed.description, messages=[message])


def _wrong(message: str) -> MCPError:
    return MCPError(INVALID_PARAMS, presentable_text(message))
