"""What we read never crashes on odd messages, and what we answer is only what is on offer."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.codex.words.answers import (
    NotOnOffer,
    decide,
    declining,
    elicited,
    grant,
    reply,
)
from codex_control_plane_mcp.codex.words.events import (
    EVENT_READERS,
    DiffUpdated,
    ErrorReported,
    ItemCompleted,
    ServerRequestResolved,
    TurnCompleted,
    UnknownNotification,
    WarningRaised,
    read_event,
)
from codex_control_plane_mcp.codex.words.questions import (
    QUESTION_READERS,
    REFUSED_METHODS,
    Answerable,
    CommandApproval,
    ElicitationRequested,
    LegacyExecApproval,
    LegacyPatchApproval,
    NotOurs,
    PermissionsApproval,
    UserInputRequested,
    read_server_request,
)
from codex_control_plane_mcp.codex.words.things import (
    FileChange,
    OtherItem,
    read_item,
    read_turn,
)
from codex_control_plane_mcp.codex.words.verbs import ReadOnly, WorkspaceWrite, policy_for
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.rpc.values import Json, JsonObject

TH, TU = ThreadId("th"), TurnId("tu")
HERE: JsonObject = {"threadId": "th", "turnId": "tu", "itemId": "it"}

FIELDS = [
    *("threadId", "turnId", "itemId", "turn", "item", "id", "type", "status", "items", "delta"),
    *("error", "message", "requestId", "tokenUsage", "plan", "diff", "goal", "thread", "cwd"),
    *("permissions", "questions", "serverName", "mode", "_meta", "conversationId", "command"),
    *("fileChanges", "availableDecisions", "options", "content", "text", "changes"),
]
json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inside, max_size=6)
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(EVENT_READERS)), json_values)
def test_no_notification_crashes_the_reader(method: str, params: Json) -> None:
    read_event(method, params)


@given(st.sampled_from(sorted(QUESTION_READERS)), json_values)
def test_no_server_request_crashes_the_reader(method: str, params: Json) -> None:
    request = read_server_request(1, method, params)
    if not isinstance(request, NotOurs):
        declining(request)


@given(json_values)
def test_no_item_crashes_the_reader(raw: Json) -> None:
    if isinstance(raw, dict):
        read_item(raw)


def test_an_odd_message_is_kept_raw_with_its_thread() -> None:
    odd: JsonObject = {"threadId": "th", "turn": {"id": 7}}

    assert read_event("turn/completed", odd) == UnknownNotification(TH, "turn/completed", odd)
    assert read_event("brand/new", 17) == UnknownNotification(None, "brand/new", 17)


def test_a_turn_says_how_it_ended_and_what_was_said_last() -> None:
    event = read_event(
        "turn/completed",
        {
            "threadId": "th",
            "turn": {
                "id": "tu",
                "status": "failed",
                "items": [
                    {"type": "userMessage", "id": "1", "clientId": "mine", "content": []},
                    {"type": "agentMessage", "id": "2", "text": "answer", "phase": "final_answer"},
                    {"type": "agentMessage", "id": "3", "text": "aside", "phase": "commentary"},
                ],
                "error": {
                    "message": "limit",
                    "codexErrorInfo": {"httpConnectionFailed": {"httpStatusCode": 429}},
                },
            },
        },
    )

    assert isinstance(event, TurnCompleted)
    assert event.turn.final_message is not None
    assert event.turn.final_message.text == "answer"
    assert event.turn.error is not None
    assert event.turn.error.code == "httpConnectionFailed"
    assert event.turn.was_asked_with("mine")
    assert not event.turn.was_asked_with("theirs")


def test_a_turn_that_said_nothing_has_no_final_message() -> None:
    assert read_turn({"id": "tu", "status": "completed", "items": []}).final_message is None


def test_file_changes_are_counted_and_kept_for_who_must_judge_them() -> None:
    diff = "--- a\n+++ b\n@@ -1 +1,2 @@\n-old\n+new\n+more\n"
    change: JsonObject = {"path": "a", "kind": {"type": "update"}, "diff": diff}
    event = read_event(
        "item/completed",
        {
            "threadId": "th",
            "turnId": "tu",
            "item": {"type": "fileChange", "id": "1", "status": "completed", "changes": [change]},
        },
    )

    assert isinstance(event, ItemCompleted)
    assert isinstance(event.item, FileChange)
    assert (event.item.files[0].added_lines, event.item.files[0].removed_lines) == (2, 1)
    assert event.item.files[0].diff == diff
    total = read_event("turn/diff/updated", {**HERE, "diff": f"diff --git a/a b/a\n{diff}"})
    assert total == DiffUpdated(TH, TU, 1, 2, 1)


def test_an_item_of_a_new_kind_is_kept_raw() -> None:
    raw: JsonObject = {"type": "hologram", "id": "h", "colour": "blue"}

    assert read_item(raw) == OtherItem("h", "hologram", raw)


def test_errors_and_warnings_say_what_a_person_needs() -> None:
    error = read_event("error", {**HERE, "willRetry": True, "error": {"message": "offline"}})
    notice = read_event("deprecationNotice", {"summary": "old", "details": "use new"})

    assert isinstance(error, ErrorReported)
    assert (error.will_retry, error.error.message) == (True, "offline")
    assert notice == WarningRaised(None, "old: use new")


@pytest.mark.parametrize("request_id", [0, "a"])
def test_a_resolved_request_is_named_by_number_or_string(request_id: int | str) -> None:
    event = read_event("serverRequest/resolved", {"threadId": "th", "requestId": request_id})

    assert isinstance(event, ServerRequestResolved)
    assert event.request_id == request_id


def test_a_sandbox_mode_becomes_the_policy_that_a_turn_takes() -> None:
    assert policy_for("read-only") == ReadOnly(network_access=False)
    assert policy_for("workspace-write") == WorkspaceWrite()
    assert policy_for("danger-full-access").to_wire() == {"type": "dangerFullAccess"}


# Answers


def asked(method: str, **params: Json) -> Answerable:
    request = read_server_request(1, method, {**HERE, **params})
    assert not isinstance(request, NotOurs)
    return request


def command_approval(*offers: Json) -> CommandApproval:
    request = asked("item/commandExecution/requestApproval", availableDecisions=[*offers])
    assert isinstance(request, CommandApproval)
    return request


AMEND: Json = {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["ls"]}}


def test_a_decision_is_given_by_name_or_as_the_object_on_offer() -> None:
    request = command_approval("accept", AMEND, "cancel")

    assert decide(request, "accept") == {"decision": "accept"}
    assert decide(request, "acceptWithExecpolicyAmendment") == {"decision": AMEND}
    assert decide(request, AMEND) == {"decision": AMEND}


@pytest.mark.parametrize(
    "wanted",
    [
        "acceptForSession",
        "yes",
        "",
        None,
        True,
        ["accept"],
        {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["rm"]}},
    ],
)
def test_a_decision_that_is_not_on_offer_is_refused_and_the_offer_named(wanted: Json) -> None:
    with pytest.raises(NotOnOffer, match="accept, acceptWithExecpolicyAmendment, cancel"):
        decide(command_approval("accept", AMEND, "cancel"), wanted)


def test_a_plain_no_is_always_possible() -> None:
    """The real binary takes `decline` where it lists only `cancel`, and the turn goes on."""
    request = command_approval("accept", "cancel")

    assert decide(request, "decline") == {"decision": "decline"}
    assert declining(request) == {"decision": "decline"}


def test_legacy_approvals_are_answered_in_their_own_words() -> None:
    here: JsonObject = {"conversationId": "th", "callId": "c"}
    run = read_server_request(1, "execCommandApproval", {**here, "command": ["ls", "-l"]})
    change: JsonObject = {"type": "add", "content": "one\ntwo\n"}
    patch = read_server_request(1, "applyPatchApproval", {**here, "fileChanges": {"a": change}})

    assert isinstance(run, LegacyExecApproval)
    assert (run.thread_id, run.command) == ("th", "ls -l")
    assert decide(run, "acceptForSession") == {"decision": "approved_for_session"}
    assert decide(run, "cancel") == {"decision": "abort"}
    assert isinstance(patch, LegacyPatchApproval)
    assert (patch.files[0].added_lines, patch.files[0].removed_lines) == (2, 0)
    assert declining(patch) == {"decision": {"denied": {"rejection": "declined by the user"}}}


ASKED: JsonObject = {
    "network": {"enabled": True},
    "fileSystem": {
        "read": ["/a", "/b"],
        "write": ["/c"],
        "entries": [
            {"access": "write", "path": {"type": "path", "path": "/d"}},
            {"access": "deny", "path": {"type": "path", "path": "/a/secret"}},
        ],
    },
}
DENY: Json = {"access": "deny", "path": {"type": "path", "path": "/a/secret"}}


def permissions() -> PermissionsApproval:
    request = asked("item/permissions/requestApproval", permissions=ASKED, cwd="/work")
    assert isinstance(request, PermissionsApproval)
    return request


@pytest.mark.parametrize(
    "granted",
    [
        ASKED,
        {},
        {"network": {"enabled": True}},
        {"network": None, "fileSystem": None},
        {"fileSystem": {"read": ["/b"], "entries": [DENY]}},
    ],
)
def test_permissions_may_be_granted_in_part(granted: JsonObject) -> None:
    assert grant(permissions(), granted, "session") == {
        "permissions": granted,
        "scope": "session",
    }


@pytest.mark.parametrize(
    "granted",
    [
        None,
        "all",
        {"everything": True},
        {"network": {"enabled": True, "hosts": "*"}},
        {"network": True},
        {"fileSystem": {"read": ["/"], "entries": [DENY]}},
        {"fileSystem": {"write": ["/a"], "entries": [DENY]}},
        {"fileSystem": {"read": ["/a"]}},  # without the `deny` that came with it
        {"fileSystem": {"read": ["/a"], "entries": [DENY], "globScanMaxDepth": 9}},
        {"fileSystem": ["/a"]},
    ],
)
def test_permissions_beyond_what_was_asked_are_refused(granted: object) -> None:
    with pytest.raises(NotOnOffer, match="permissions must be within"):
        grant(permissions(), granted)


def test_permissions_have_two_scopes_only() -> None:
    with pytest.raises(NotOnOffer, match="turn, session"):
        grant(permissions(), {}, "for ever")
    assert declining(permissions()) == {"permissions": {}, "scope": "turn"}


def question(is_other: bool) -> UserInputRequested:
    options: Json = [{"label": "red", "description": ""}, {"label": "blue", "description": ""}]
    one: Json = {"id": "q", "header": "h", "question": "?", "options": options, "isOther": is_other}
    request = asked("item/tool/requestUserInput", questions=[one])
    assert isinstance(request, UserInputRequested)
    return request


def test_a_question_is_answered_with_its_options_or_own_words_where_welcome() -> None:
    assert reply(question(False), {"q": "red"}) == {"answers": {"q": {"answers": ["red"]}}}
    assert reply(question(True), {"q": ["mauve"]}) == {"answers": {"q": {"answers": ["mauve"]}}}
    assert declining(question(False)) is None


@pytest.mark.parametrize(
    "answers",
    [{}, {"q": "mauve"}, {"q": []}, {"other": "red"}, {"q": "red", "r": "x"}],
    ids=json.dumps,
)
def test_an_answer_to_another_question_is_refused(answers: dict[str, str]) -> None:
    with pytest.raises(NotOnOffer):
        reply(question(False), answers)


def elicitation(**params: Json) -> ElicitationRequested:
    base: JsonObject = {"serverName": "s", "mode": "form", "message": "m"}
    request = asked("mcpServer/elicitation/request", **{**base, **params})
    assert isinstance(request, ElicitationRequested)
    return request


FORM: JsonObject = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "string", "enum": ["S", "L"]}},
    "required": ["name"],
}


def test_an_elicitation_is_accepted_with_the_content_it_asks_for() -> None:
    content: JsonObject = {"name": "x", "size": "S"}

    assert elicited(elicitation(requestedSchema=FORM), "accept", content) == {
        "action": "accept",
        "content": content,
    }
    assert elicited(elicitation(requestedSchema=FORM), "decline")["content"] is None


@pytest.mark.parametrize(
    ("action", "content"),
    [
        ("accept", {}),
        ("accept", None),
        ("accept", {"name": "x", "extra": 1}),
        ("accept", {"name": "x", "size": "M"}),
        ("accept", "text"),
        ("decline", {"name": "x"}),
        ("maybe", None),
    ],
)
def test_an_elicitation_refuses_what_it_did_not_ask_for(action: str, content: object) -> None:
    with pytest.raises(NotOnOffer):
        elicited(elicitation(requestedSchema=FORM), action, content)


def test_an_approval_of_a_tool_call_is_told_from_a_servers_question() -> None:
    meta: Json = {"codex_approval_kind": "mcp_tool_call", "persist": ["session"]}
    request = elicitation(_meta=meta)

    assert request.is_tool_approval
    assert not elicitation().is_tool_approval
    assert elicited(request, "accept", {}, "session")["_meta"] == {"persist": "session"}
    with pytest.raises(NotOnOffer, match="session"):
        elicited(request, "accept", {}, "always")
    with pytest.raises(NotOnOffer, match="leave it out"):
        elicited(replace(request, persist_offers=()), "accept", {}, "session")


@pytest.mark.parametrize("method", [*REFUSED_METHODS, "brand/new"])
def test_what_we_cannot_answer_is_not_ours(method: str) -> None:
    assert isinstance(read_server_request(1, method, HERE), NotOurs)
