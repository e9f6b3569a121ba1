"""Questions of every kind: what people see of them, and which answers Codex gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from codex_control_plane_mcp.codex.answering import build_answer, describe, request_of
from codex_control_plane_mcp.codex.words.answers import NotOnOffer
from codex_control_plane_mcp.codex.words.questions import Answerable, NotOurs, read_server_request
from codex_control_plane_mcp.model.interaction import Kind
from codex_control_plane_mcp.redact import redact_json
from tests.desk.reception import APP_SERVER, COMMAND_APPROVAL, USER_INPUT

FILE_CHANGE = "item/fileChange/requestApproval"
PERMISSIONS = "item/permissions/requestApproval"
ELICITATION = "mcpServer/elicitation/request"

ASKED_FOR = {"network": {"enabled": True}, "fileSystem": {"write": ["/srv/out"], "read": ["/etc"]}}
FORM = {
    "type": "object",
    "properties": {"size": {"type": "string", "enum": ["S", "L"]}},
    "required": ["size"],
}


def request(method: str, request_id: int | str = 1, **params: Any) -> Answerable:
    asked = read_server_request(
        request_id, method, {"threadId": "t-1", "turnId": "u-1", "itemId": "i-1", **params}
    )
    assert not isinstance(asked, NotOurs)
    return asked


def elicitation(**params: Any) -> Answerable:
    return request(ELICITATION, serverName="shop", mode="form", message="Which size?", **params)


def tool_approval() -> Answerable:
    meta = {"codex_approval_kind": "mcp_tool_call", "persist": ["session", "always"]}
    return elicitation(_meta=meta)


class TestApprovals:
    @pytest.mark.parametrize("decision", ["accept", "acceptForSession", "decline", "cancel"])
    def test_a_usual_decision_is_given_as_it_is(self, decision: str) -> None:
        for method in (COMMAND_APPROVAL, FILE_CHANGE):
            assert build_answer(request(method), {"decision": decision}) == {"decision": decision}

    def test_only_what_is_offered_can_be_chosen_and_the_offer_is_named(self) -> None:
        asked = request(COMMAND_APPROVAL, availableDecisions=["accept", "decline"])
        with pytest.raises(NotOnOffer, match="accept, decline"):
            build_answer(asked, {"decision": "acceptForSession"})

    def test_a_richer_decision_is_chosen_by_name_or_as_the_whole(self) -> None:
        rich = {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["ls"]}}
        asked = request(COMMAND_APPROVAL, availableDecisions=["accept", rich])
        for said in ("acceptWithExecpolicyAmendment", rich):
            assert build_answer(asked, {"decision": said}) == {"decision": rich}

    def test_a_name_offered_twice_needs_the_whole_object(self) -> None:
        allow = {"applyNetworkPolicyAmendment": {"host": "x.org", "action": "allow"}}
        deny = {"applyNetworkPolicyAmendment": {"host": "x.org", "action": "deny"}}
        asked = request(COMMAND_APPROVAL, availableDecisions=[allow, deny])

        with pytest.raises(NotOnOffer, match="whole object"):
            build_answer(asked, {"decision": "applyNetworkPolicyAmendment"})
        assert build_answer(asked, {"decision": deny}) == {"decision": deny}

    def test_an_offer_that_was_shown_without_its_secret_can_be_chosen(self) -> None:
        secret = {"acceptWithExecpolicyAmendment": {"execpolicy_amendment": ["X_TOKEN=abcdef123"]}}
        asked = request(COMMAND_APPROVAL, availableDecisions=["accept", secret])

        assert build_answer(asked, {"decision": redact_json(secret)}) == {"decision": secret}

    @pytest.mark.parametrize(
        "given", [{}, {"answers": {}}, {"decision": "accept", "scope": "session"}, {"action": "x"}]
    )
    def test_an_answer_of_another_kind_is_not_guessed_at(self, given: dict[str, object]) -> None:
        with pytest.raises(NotOnOffer, match="a decision"):
            build_answer(request(COMMAND_APPROVAL), given)

    def test_the_facts_of_the_risk_are_told(self) -> None:
        def risk(**params: Any) -> str | None:
            return describe(request(COMMAND_APPROVAL, **params), APP_SERVER).risk_summary

        assert risk(command="ls") == "may run outside the sandbox"
        assert risk(networkApprovalContext={"host": "x.org"}) == "network to x.org"
        assert risk(additionalPermissions=ASKED_FOR) == (
            "network access; writes below /srv/out; reads below /etc"
        )
        grant = describe(request(FILE_CHANGE, grantRoot="/srv"), APP_SERVER)
        assert grant.risk_summary == "lets it write below /srv from now on"


class TestPermissions:
    def test_less_than_what_was_asked_for_can_be_granted(self) -> None:
        asked = request(PERMISSIONS, permissions=ASKED_FOR)
        network = {"network": {"enabled": True}}

        assert build_answer(asked, {"permissions": network}) == {
            "permissions": network,
            "scope": "turn",
        }

    def test_more_than_what_was_asked_for_cannot(self) -> None:
        asked = request(PERMISSIONS, permissions={"fileSystem": {"write": ["/srv/out"]}})
        for more in (ASKED_FOR, {"fileSystem": {"write": ["/"]}}, "all", None):
            with pytest.raises(NotOnOffer):
                build_answer(asked, {"permissions": more, "scope": "turn"})
        with pytest.raises(NotOnOffer, match="turn, session"):
            build_answer(asked, {"permissions": {}, "scope": "always"})

    @pytest.mark.parametrize(
        ("decision", "answer"),
        [
            ("accept", {"permissions": ASKED_FOR, "scope": "turn"}),
            ("acceptForSession", {"permissions": ASKED_FOR, "scope": "session"}),
            ("decline", {"permissions": {}, "scope": "turn"}),
        ],
    )
    def test_a_plain_decision_will_do(self, decision: str, answer: object) -> None:
        asked = request(PERMISSIONS, permissions=ASKED_FOR)
        assert build_answer(asked, {"decision": decision}) == answer


QUESTION = {"id": "q", "header": "H", "question": "Why?", "isOther": True, "options": []}


class TestQuestions:
    def test_own_words_are_welcome_where_codex_says_so(self) -> None:
        asked = request(USER_INPUT, questions=[QUESTION])
        assert build_answer(asked, {"answers": {"q": "because"}}) == {
            "answers": {"q": {"answers": ["because"]}}
        }
        assert build_answer(asked, {"answers": {"q": ["a", "b"]}}) == {
            "answers": {"q": {"answers": ["a", "b"]}}
        }

    @pytest.mark.parametrize("answers", [None, "x", [], {"q": 5}, {"q": [5]}, {"p": "x"}])
    def test_anything_else_is_refused(self, answers: object) -> None:
        with pytest.raises(NotOnOffer):
            build_answer(request(USER_INPUT, questions=[QUESTION]), {"answers": answers})


class TestElicitations:
    def test_a_form_is_filled_in_as_it_asks(self) -> None:
        asked = elicitation(requestedSchema=FORM)
        assert build_answer(asked, {"action": "accept", "content": {"size": "L"}}) == {
            "action": "accept",
            "content": {"size": "L"},
        }
        for content in ({}, {"size": "XL"}, {"size": "L", "colour": "red"}):
            with pytest.raises(NotOnOffer):
                build_answer(asked, {"action": "accept", "content": content})

    def test_a_tool_call_is_approved_like_a_command(self) -> None:
        asked = tool_approval()
        assert describe(asked, APP_SERVER).kind is Kind.APPROVAL
        assert build_answer(asked, {"decision": "acceptForSession"}) == {
            "action": "accept",
            "content": None,
            "_meta": {"persist": "session"},
        }
        assert build_answer(asked, {"decision": "decline"})["action"] == "decline"

    def test_what_cannot_be_remembered_is_not_offered(self) -> None:
        with pytest.raises(NotOnOffer, match="accept, decline, cancel"):
            build_answer(elicitation(), {"decision": "acceptForSession"})


ALL = [
    request(COMMAND_APPROVAL, command="ls", cwd="/srv", reason="to see"),
    request(FILE_CHANGE, reason="to mend"),
    request(PERMISSIONS, permissions=ASKED_FOR),
    request(USER_INPUT, "a-string", questions=[QUESTION]),
    elicitation(requestedSchema=FORM),
    tool_approval(),
    request("execCommandApproval", conversationId="t-1", command=["ls", "-l"], cwd="/srv"),
    request(
        "applyPatchApproval",
        conversationId="t-1",
        fileChanges={"a.py": {"type": "add", "content": "x\n"}},
    ),
]


@pytest.mark.parametrize("asked", ALL, ids=lambda asked: type(asked).__name__)
def test_what_was_shown_can_be_answered_from_the_record(asked: Answerable) -> None:
    assert request_of(describe(asked, APP_SERVER)) == asked


def test_a_record_that_is_no_question_is_refused() -> None:
    shown = describe(ALL[0], APP_SERVER)
    for broken in (replace(shown, method="item/tool/call"), replace(shown, details=None)):
        with pytest.raises(ValueError, match="not a question"):
            request_of(broken)
