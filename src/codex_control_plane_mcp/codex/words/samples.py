"""One of everything that we say, and how everything is read: what `codex.contract` compares.

Every field and every variant that the other files of this folder can send stands here once; a test
holds this list to them. What a version of Codex lacks is judged by the list it stands in.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from codex_control_plane_mcp.codex.words import answers, entries, questions, things, verbs
from codex_control_plane_mcp.model.ids import ThreadId, TurnId

_THREAD, _TURN = ThreadId("thread"), TurnId("turn")
_INPUT: tuple[verbs.InputItem, ...] = (
    verbs.Text("hello"),
    verbs.LocalImage("/tmp/a.png"),  # noqa: S108  # nobody looks for it
    verbs.ImageUrl("https://example.org/a.png"),
    verbs.Skill("name", "/skill"),
    verbs.Mention("name", "app://x"),
)

#: What every task stands on. A Codex that lacks one of these, or a field of them, is of no use.
CORE: tuple[verbs.Verb, ...] = (
    verbs.Initialize("name", "title", "1.0", verbs.UNWANTED),
    verbs.StartThread("/work", "read-only", "on-request", "m", True),
    verbs.StartThread("/work", "workspace-write", "never"),
    verbs.StartThread("/work", "danger-full-access", "untrusted"),
    verbs.ResumeThread(_THREAD),
    verbs.ListTurns(_THREAD, 10, "cursor", "full", "asc"),
    verbs.ListTurns(_THREAD, 10, "cursor", "summary"),
    verbs.ListTurns(_THREAD, 10, "cursor", "notLoaded"),
    verbs.StartTurn(
        _THREAD,
        _INPUT,
        client_user_message_id="mine",
        cwd="/work",
        sandbox_policy=verbs.WorkspaceWrite(("/more",), True, True, True),
        approval_policy="on-request",
        model="m",
        effort="high",
        output_schema={"type": "object"},
        collaboration_mode=verbs.CollaborationMode("plan", "m", "high"),
    ),
    verbs.StartTurn(_THREAD, _INPUT, sandbox_policy=verbs.ReadOnly(True), approval_policy="never"),
    verbs.StartTurn(
        _THREAD,
        _INPUT,
        sandbox_policy=verbs.DangerFullAccess(),
        approval_policy="untrusted",
        collaboration_mode=verbs.CollaborationMode("default", "m"),
    ),
    verbs.SteerTurn(_THREAD, _TURN, _INPUT, "mine"),
    verbs.InterruptTurn(_THREAD, _TURN),
)
#: What else changes something. It may be missing, but where it is there it must mean the same.
ACTS: tuple[verbs.Verb, ...] = (
    verbs.StartThread("/work", config={"a": {"b": 1}}),
    verbs.StartThread("/work", developer_instructions="dev", project_id="project"),
    verbs.ResumeThread(
        _THREAD, "/work", "read-only", "never", "m", {"model_reasoning_effort": "low"}
    ),
    verbs.ForkThread(_THREAD, _TURN, "/work", "read-only", "never", "m", True, {"a": 1}, "dev"),
    verbs.ArchiveThread(_THREAD),
    verbs.UnarchiveThread(_THREAD),
    verbs.UnsubscribeThread(_THREAD),
    verbs.NameThread(_THREAD, "name"),
    verbs.CompactThread(_THREAD),
    verbs.SetGoal(_THREAD, "be done", 1000, "active"),
    verbs.ClearGoal(_THREAD),
    verbs.StartReview(_THREAD, verbs.UncommittedChanges()),
    verbs.StartReview(_THREAD, verbs.BaseBranch("main"), "detached"),
    verbs.StartReview(_THREAD, verbs.Commit("abc", "title")),
    verbs.StartReview(_THREAD, verbs.CustomReview("look")),
    verbs.TrustHooks({"key": "hash"}),
)
#: What only looks. Without it something is not shown.
LOOKS: tuple[verbs.Verb, ...] = (
    verbs.ReadThread(_THREAD, include_turns=True),
    verbs.ListItems(_THREAD, _TURN, 10, "cursor", "desc"),
    verbs.ListThreads(("/a", "/b"), True, "words", ("cli", "appServer"), 10, "cursor"),
    verbs.SearchThreads("words", False, 10, "cursor"),
    verbs.ListLoadedThreads("cursor", 10),
    verbs.GetGoal(_THREAD),
    verbs.ListProjects("cursor", 10),
    verbs.ListModels(True, "cursor", 10),
    verbs.ReadDiagnostics(),
    verbs.ReadAccount(),
    verbs.ListHooks(("/work",)),
    verbs.ListSkills(("/work",)),
    verbs.TrySandbox(),
    *verbs.Survey,
)

#: A sampled message: whatever Codex may send.
Raw: TypeAlias = Any


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """How answers are read. A field that one of them has need not be in the others."""

    read: Callable[[Raw], object]
    #: The schema file of the answer to each method.
    files: Mapping[str, str]


READINGS: tuple[Reading, ...] = (
    Reading(things.read_handshake, {"initialize": "v1/InitializeResponse"}),
    Reading(
        things.read_thread_in_force,
        {
            "thread/start": "v2/ThreadStartResponse",
            "thread/resume": "v2/ThreadResumeResponse",
            "thread/fork": "v2/ThreadForkResponse",
        },
    ),
    Reading(
        lambda raw: things.read_thread(raw["thread"]),
        {"thread/read": "v2/ThreadReadResponse", "thread/unarchive": "v2/ThreadUnarchiveResponse"},
    ),
    Reading(
        lambda raw: things.read_page(raw, things.read_thread),
        {"thread/list": "v2/ThreadListResponse"},
    ),
    Reading(
        lambda raw: things.read_page(raw, things.read_found_thread),
        {"thread/search": "v2/ThreadSearchResponse"},
    ),
    Reading(
        lambda raw: (
            things.read_page(raw, things.read_turn),
            things.read_page_both_ways(raw, entries.read_turn_entries),
        ),
        {"thread/turns/list": "v2/ThreadTurnsListResponse"},
    ),
    Reading(
        lambda raw: things.read_page_both_ways(raw, entries.read_entry),
        {"thread/items/list": "v2/ThreadItemsListResponse"},
    ),
    Reading(
        lambda raw: things.read_page(raw, things.read_project),
        {"project/list": "v2/ProjectListResponse"},
    ),
    Reading(
        lambda raw: things.read_page(raw, things.read_model),
        {"model/list": "v2/ModelListResponse"},
    ),
    Reading(lambda raw: things.read_turn(raw["turn"]), {"turn/start": "v2/TurnStartResponse"}),
    Reading(things.read_review_started, {"review/start": "v2/ReviewStartResponse"}),
    Reading(things.read_hooks, {"hooks/list": "v2/HooksListResponse"}),
    Reading(things.read_diagnostics, {"server/diagnostics": "v2/ServerDiagnosticsResponse"}),
    Reading(things.read_ended, {"command/exec": "v2/CommandExecResponse"}),
    Reading(things.read_account, {"account/read": "v2/GetAccountResponse"}),
    Reading(
        lambda raw: things.read_goal(raw["goal"]), {"thread/goal/set": "v2/ThreadGoalSetResponse"}
    ),
)

#: How a turn is known to have ended, and what its report is made of.
CORE_EVENTS = ("turn/completed", "item/completed")
CORE_ITEMS = ("userMessage", "agentMessage")
TURN_STATUSES = ("inProgress", "completed", "interrupted", "failed")
#: Ours bears our id: without it nobody can tell which turn we asked for.
CORE_FIELDS = ("clientId",)

#: The schema file of the answer to each question.
ANSWER_FILES: Mapping[str, str] = {
    "item/commandExecution/requestApproval": "CommandExecutionRequestApprovalResponse",
    "item/fileChange/requestApproval": "FileChangeRequestApprovalResponse",
    "item/permissions/requestApproval": "PermissionsRequestApprovalResponse",
    "item/tool/requestUserInput": "ToolRequestUserInputResponse",
    "mcpServer/elicitation/request": "McpServerElicitationRequestResponse",
    "execCommandApproval": "ExecCommandApprovalResponse",
    "applyPatchApproval": "ApplyPatchApprovalResponse",
}
#: Forms of older protocols: nobody misses them, and a Codex that asks so is an old one.
LEGACY_QUESTIONS = ("execCommandApproval", "applyPatchApproval")
#: What a question may come without: nobody's judgement rests on it.
SPARE_FIELDS = frozenset({"isBlocking", "autoResolutionMs"})


def every_answer(request: questions.Answerable) -> list[answers.Payload]:
    """All kinds of answers that we can give to a question."""
    declined = answers.declining(request)
    return [*([] if declined is None else [declined]), *_positive_answers(request)]


def _positive_answers(request: questions.Answerable) -> list[answers.Payload]:
    match request:
        case questions.PermissionsApproval():
            return [
                answers.grant(request, request.permissions, "session"),
                answers.grant(request, {}),
            ]
        case questions.UserInputRequested():
            # Sampled questions are named alike, or twice.
            labels = {q.id: q.options[0].label if q.options else "words" for q in request.questions}
            return [answers.reply(request, labels)]
        case questions.ElicitationRequested():
            # The sample of a form requires fields that it does not have.
            formless = dataclasses.replace(request, requested_schema={})
            return [
                answers.elicited(formless, "accept", {"name": "x"}),
                answers.elicited(formless, "cancel"),
            ]
        case _:
            return [answers.decide(request, offer) for offer in request.available_decisions]
