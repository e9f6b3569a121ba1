"""Our words against the installed Codex's own schema.

Codex ignores fields that it does not know, so a misspelled one would be lost in silence, and what
we read by a wrong name would be "missing" for ever. Both are found here. A newer Codex that says
something else turns this red: then mend the words.
"""

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp.codex.words import answers, events, questions, things, verbs
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from tests.codex.schema import Schema, Spy

pytestmark = [pytest.mark.real]

THREAD, TURN = ThreadId("thread"), TurnId("turn")
INPUT: tuple[verbs.InputItem, ...] = (
    verbs.Text("hello"),
    verbs.LocalImage("/tmp/a.png"),
    verbs.ImageUrl("https://example.org/a.png"),
    verbs.Skill("name", "/skill"),
    verbs.Mention("name", "app://x"),
)
SENT: list[verbs.Verb] = [
    verbs.Initialize("name", "title", "1.0", verbs.UNWANTED),
    verbs.StartThread(
        "/work", "workspace-write", "on-request", "m", True, {"a": {"b": 1}}, "dev", "project"
    ),
    verbs.StartThread("/work", "danger-full-access", "untrusted"),
    verbs.ResumeThread(
        THREAD, "/work", "read-only", "never", "m", {"model_reasoning_effort": "low"}
    ),
    verbs.ForkThread(THREAD, TURN, "/work", "read-only", "never", "m", True, {"a": 1}, "dev"),
    verbs.ReadThread(THREAD, include_turns=True),
    verbs.ListTurns(THREAD, 10, "cursor", "summary", "asc"),
    verbs.ListItems(THREAD, TURN, 10, "cursor", "desc"),
    verbs.ListThreads(("/a", "/b"), True, "words", ("cli", "appServer"), 10, "cursor"),
    verbs.SearchThreads("words", False, 10, "cursor"),
    verbs.ListLoadedThreads("cursor", 10),
    verbs.ArchiveThread(THREAD),
    verbs.UnarchiveThread(THREAD),
    verbs.UnsubscribeThread(THREAD),
    verbs.NameThread(THREAD, "name"),
    verbs.CompactThread(THREAD),
    verbs.SetGoal(THREAD, "be done", 1000, "active"),
    verbs.GetGoal(THREAD),
    verbs.ClearGoal(THREAD),
    verbs.StartTurn(
        THREAD,
        INPUT,
        client_user_message_id="mine",
        cwd="/work",
        sandbox_policy=verbs.WorkspaceWrite(("/more",), True, True, True),
        approval_policy="on-request",
        model="m",
        effort="high",
        output_schema={"type": "object"},
        collaboration_mode=verbs.CollaborationMode("plan", "m", "high"),
    ),
    verbs.StartTurn(THREAD, INPUT, sandbox_policy=verbs.ReadOnly(True)),
    verbs.StartTurn(THREAD, INPUT, sandbox_policy=verbs.DangerFullAccess()),
    verbs.SteerTurn(THREAD, TURN, INPUT, "mine"),
    verbs.InterruptTurn(THREAD, TURN),
    verbs.StartReview(THREAD, verbs.UncommittedChanges()),
    verbs.StartReview(THREAD, verbs.BaseBranch("main"), "detached"),
    verbs.StartReview(THREAD, verbs.Commit("abc", "title")),
    verbs.StartReview(THREAD, verbs.CustomReview("look")),
    verbs.ListProjects("cursor", 10),
    verbs.ListModels(True, "cursor", 10),
    verbs.ReadDiagnostics(),
    verbs.ReadAccount(),
    verbs.ListHooks(("/work",)),
    verbs.ListSkills(("/work",)),
    verbs.TrustHooks({"key": "hash"}),
    *verbs.Survey,
]
#: How each answer is read, and the schema of that answer.
READ: list[tuple[Callable[[Any], object], str]] = [
    (things.read_handshake, "v1/InitializeResponse"),
    (things.read_thread_in_force, "v2/ThreadStartResponse"),
    (things.read_thread_in_force, "v2/ThreadResumeResponse"),
    (things.read_thread_in_force, "v2/ThreadForkResponse"),
    (lambda raw: things.read_thread(raw["thread"]), "v2/ThreadReadResponse"),
    (lambda raw: things.read_thread(raw["thread"]), "v2/ThreadUnarchiveResponse"),
    (lambda raw: things.read_page(raw, things.read_thread), "v2/ThreadListResponse"),
    (lambda raw: things.read_page(raw, things.read_found_thread), "v2/ThreadSearchResponse"),
    (lambda raw: things.read_page(raw, things.read_turn), "v2/ThreadTurnsListResponse"),
    (lambda raw: things.read_page(raw, things.read_item_in_turn), "v2/ThreadItemsListResponse"),
    (lambda raw: things.read_page(raw, things.read_project), "v2/ProjectListResponse"),
    (lambda raw: things.read_page(raw, things.read_model), "v2/ModelListResponse"),
    (lambda raw: things.read_turn(raw["turn"]), "v2/TurnStartResponse"),
    (things.read_review_started, "v2/ReviewStartResponse"),
    (things.read_hooks, "v2/HooksListResponse"),
    (things.read_diagnostics, "v2/ServerDiagnosticsResponse"),
    (things.read_account, "v2/GetAccountResponse"),
    (lambda raw: things.read_goal(raw["goal"]), "v2/ThreadGoalSetResponse"),
]
#: What only some versions of Codex have, or have in some variants only.
NOT_IN_EVERY_VERSION = {"collaborationMode"}


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    codex_cli_bin = pytest.importorskip("codex_cli_bin")
    folder = tmp_path_factory.mktemp("schema")
    command = [codex_cli_bin.bundled_codex_path(), "app-server", "generate-json-schema"]
    subprocess.run(
        [*command, "--experimental", "--out", folder], check=True, stdout=subprocess.DEVNULL
    )
    return folder


@pytest.fixture(scope="session")
def client_requests(schemas: Path) -> Schema:
    return Schema(schemas / "ClientRequest.json")


@pytest.fixture(scope="session")
def server_requests(schemas: Path) -> Schema:
    return Schema(schemas / "ServerRequest.json")


@pytest.fixture(scope="session")
def notifications(schemas: Path) -> Schema:
    return Schema(schemas / "ServerNotification.json")


@pytest.mark.parametrize("verb", SENT, ids=lambda verb: verb.method)
def test_codex_knows_everything_that_we_send(verb: verbs.Verb, client_requests: Schema) -> None:
    params = verb.to_wire()
    message = {"id": 1, "method": verb.method, **({} if params is None else {"params": params})}

    assert client_requests.complaints(message, client_requests.methods()[verb.method]) == []


def test_every_verb_has_a_sample() -> None:
    verbs_there_are = {
        one
        for one in vars(verbs).values()
        if isinstance(one, type) and isinstance(getattr(one, "method", None), str)
    }

    assert verbs_there_are == {type(verb) for verb in SENT} - {verbs.Survey}


def test_a_field_that_codex_would_ignore_is_found(client_requests: Schema) -> None:
    """The check has teeth: `thread/start` has no `sandboxPolicy`, and no `sandbx`."""
    message = {"id": 1, "method": "thread/start", "params": {"sandboxPolicy": {}, "cwd": "/"}}

    complaints = client_requests.complaints(message, client_requests.methods()["thread/start"])
    assert complaints == ["unknown field .params.sandboxPolicy"]


def test_the_handshake_ends_with_a_notification_that_codex_knows(schemas: Path) -> None:
    assert verbs.INITIALIZED in Schema(schemas / "ClientNotification.json").methods()


@pytest.mark.parametrize(("read", "name"), READ, ids=[name for _, name in READ])
def test_every_field_that_we_read_in_an_answer_exists(
    read: Callable[[Any], object], name: str, schemas: Path
) -> None:
    schema = Schema(schemas / f"{name}.json")
    for sample in schema.samples(schema.root):
        read(sample)
        assert sample.inventions() <= NOT_IN_EVERY_VERSION


@pytest.mark.parametrize("method", events.EVENT_READERS)
def test_every_field_that_we_read_in_an_event_exists(method: str, notifications: Schema) -> None:
    for sample in notifications.samples(notifications.params_of(method)):
        event = events.read_event(method, sample)  # type: ignore[arg-type]
        assert not isinstance(event, events.UnknownNotification)
        assert sample.inventions() == set()


def test_every_notification_of_codex_can_be_read(notifications: Schema) -> None:
    for method in notifications.methods():
        for sample in notifications.samples(notifications.params_of(method)):
            events.read_event(method, sample)  # type: ignore[arg-type]


def test_the_notifications_that_we_do_not_want_exist(notifications: Schema) -> None:
    assert set(verbs.UNWANTED) <= set(notifications.methods())
    assert not set(verbs.UNWANTED) & set(events.EVENT_READERS)


def test_all_server_requests_are_handled(server_requests: Schema) -> None:
    handled = {*questions.QUESTION_READERS, *questions.REFUSED_METHODS}

    assert handled == set(server_requests.methods())
    assert len(handled) == 11


@pytest.mark.parametrize("method", questions.QUESTION_READERS)
def test_every_field_that_we_read_in_a_server_request_exists(
    method: str, server_requests: Schema
) -> None:
    for sample in server_requests.samples(server_requests.params_of(method)):
        request = questions.read_server_request(7, method, sample)  # type: ignore[arg-type]
        assert not isinstance(request, questions.NotOurs)
        assert questions.method_of(request) == method
        assert sample.inventions() == set()


#: The file that describes the answer to each.
RESPONSES = {
    "item/commandExecution/requestApproval": "CommandExecutionRequestApprovalResponse",
    "item/fileChange/requestApproval": "FileChangeRequestApprovalResponse",
    "item/permissions/requestApproval": "PermissionsRequestApprovalResponse",
    "item/tool/requestUserInput": "ToolRequestUserInputResponse",
    "mcpServer/elicitation/request": "McpServerElicitationRequestResponse",
    "execCommandApproval": "ExecCommandApprovalResponse",
    "applyPatchApproval": "ApplyPatchApprovalResponse",
}


@pytest.mark.parametrize("method", questions.QUESTION_READERS)
def test_codex_understands_every_answer_that_we_can_give(
    method: str, server_requests: Schema, schemas: Path
) -> None:
    schema = Schema(schemas / f"{RESPONSES[method]}.json")
    given = 0
    for sample in server_requests.samples(server_requests.params_of(method)):
        request = questions.read_server_request(7, method, sample)  # type: ignore[arg-type]
        assert not isinstance(request, questions.NotOurs)
        for answer in every_answer(request):
            assert schema.complaints(answer) == []
            given += 1

    assert given >= 30


def every_answer(request: questions.Answerable) -> list[answers.Payload]:
    declined = answers.declining(request)
    return [*([] if declined is None else [declined]), *positive_answers(request)]


def positive_answers(request: questions.Answerable) -> list[answers.Payload]:
    match request:
        case questions.PermissionsApproval():
            return [
                answers.grant(request, request.permissions, "session"),
                answers.grant(request, {}),
            ]
        case questions.UserInputRequested():
            # The samples name every question alike, or twice.
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


def test_the_spy_finds_a_field_that_does_not_exist(notifications: Schema) -> None:
    """The check has teeth."""
    sample = next(notifications.samples(notifications.params_of("turn/started")))
    turn = sample.get("turn")
    assert isinstance(turn, Spy)
    turn.get("invented")

    assert sample.inventions() == {"invented"}
