"""Requests survive being written down, and it is known when two of them are the same."""

import json
import unicodedata
from dataclasses import MISSING, fields, replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.model.ids import ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    BaseBranch,
    CollaborationMode,
    Commit,
    CompactThread,
    CustomTarget,
    DedupPolicy,
    ExecutePlan,
    ForkThread,
    Goal,
    GoalCompletion,
    LocalImage,
    OperationType,
    Priority,
    RemoteImage,
    Review,
    SendMessage,
    StartChat,
    SteerTurn,
    Submission,
    TaskRequest,
    TurnOptions,
    UnarchiveThread,
    UncommittedChanges,
    normalised,
    payload_hash,
    prompt_key,
    request_from_json,
    request_to_json,
    sandbox_of,
)
from tests.model.lives import SAFE

texts = st.text(min_size=1)
maybe = st.none() | texts
options = st.builds(
    TurnOptions,
    sandbox=st.sampled_from(Sandbox),
    approval_policy=st.sampled_from(ApprovalPolicy),
    model=maybe,
    effort=maybe,
    collaboration_mode=st.sampled_from(CollaborationMode),
    output_schema=st.none() | st.dictionaries(texts, texts),
)
images = st.lists(texts.map(LocalImage) | texts.map(RemoteImage), max_size=2).map(tuple)
goals = st.builds(
    Goal,
    objective=texts,
    token_budget=st.none() | st.integers(1),
    completion_action=st.sampled_from(GoalCompletion),
    completion_objective=maybe,
)
targets = (
    st.builds(UncommittedChanges)
    | texts.map(BaseBranch)
    | st.builds(Commit, sha=texts, title=maybe)
    | texts.map(CustomTarget)
)
projects = texts.map(ProjectId)
start_chats = st.builds(
    StartChat,
    message=texts,
    cwd=texts,
    project_id=projects,
    options=options,
    title=maybe,
    ephemeral=st.booleans(),
    attachments=images,
    worktree=st.booleans(),
)
send_messages = st.builds(
    SendMessage,
    message=texts,
    thread_id=texts.map(ThreadId),
    cwd=texts,
    project_id=projects,
    options=options,
)
steerings = st.builds(
    SteerTurn,
    message=texts,
    thread_id=texts.map(ThreadId),
    expected_turn_id=texts.map(TurnId),
    cwd=texts,
    project_id=projects,
)
threads = texts.map(ThreadId)
place = {"cwd": texts, "project_id": projects}
requests: st.SearchStrategy[TaskRequest] = st.one_of(
    start_chats,
    send_messages,
    steerings,
    st.builds(
        ExecutePlan,
        message=texts,
        thread_id=threads,
        options=options,
        plan_hash=maybe,
        goal=st.none() | goals,
        **place,
    ),
    st.builds(
        ForkThread,
        message=st.text(),
        source_thread_id=threads,
        options=options,
        title=maybe,
        last_turn_id=st.none() | texts.map(TurnId),
        **place,
    ),
    st.builds(
        Review,
        target=targets,
        options=options,
        thread_id=st.none() | threads,
        source_thread_id=st.none() | threads,
        **place,
    ),
    st.builds(CompactThread, thread_id=threads, **place),
    st.builds(ArchiveThread, thread_id=threads, **place),
    st.builds(UnarchiveThread, thread_id=threads, **place),
)

CHAT = StartChat(
    message="Fix the roof.", cwd="/work/house", project_id=ProjectId("house"), options=SAFE
)
MESSAGE = SendMessage(
    message="Fix the roof.",
    thread_id=ThreadId("t1"),
    cwd="/work/house",
    project_id=ProjectId("house"),
    options=SAFE,
)
STEERING = SteerTurn(
    message="Fix the roof.",
    thread_id=ThreadId("t1"),
    expected_turn_id=TurnId("turn-1"),
    cwd="/work/house",
    project_id=ProjectId("house"),
)
PLAN = ExecutePlan("Do it.", ThreadId("t1"), "/work/house", ProjectId("house"), SAFE)
FORK = ForkThread(ThreadId("t1"), "/work/house", ProjectId("house"), SAFE)
REVIEW = Review(Commit("abc"), "/work/house", ProjectId("house"), SAFE)
COMPACTION = CompactThread(ThreadId("t1"), "/work/house", ProjectId("house"))
EACH: tuple[TaskRequest, ...] = (
    CHAT,
    MESSAGE,
    STEERING,
    PLAN,
    FORK,
    REVIEW,
    COMPACTION,
    ArchiveThread(ThreadId("t1"), "/work/house", ProjectId("house")),
    UnarchiveThread(ThreadId("t1"), "/work/house", ProjectId("house")),
)


def later_parts(request: TaskRequest) -> set[str]:
    """Parts that what an earlier release wrote may not have."""
    return {one.name for one in fields(request) if one.init and one.default is not MISSING}


def key(message: str, project: str = "house") -> str | None:
    return prompt_key(Submission(replace(CHAT, message=message, project_id=ProjectId(project))))


def test_the_samples_hold_every_request_type() -> None:
    assert {type(request) for request in EACH} == set(get_args(TaskRequest))
    assert {request.type for request in EACH} == set(OperationType)


@given(request_=requests)
def test_a_request_reads_back_equal_from_json_text(request_: TaskRequest) -> None:
    assert request_from_json(json.loads(json.dumps(request_to_json(request_)))) == request_


@pytest.mark.parametrize("request_", EACH, ids=lambda request: request.type)
def test_a_request_with_a_part_missing_or_wrong_is_an_error(request_: TaskRequest) -> None:
    whole = request_to_json(request_)
    for name in whole.keys() - later_parts(request_):
        with pytest.raises(KeyError):
            request_from_json({key: value for key, value in whole.items() if key != name})
    wrong: list[dict[str, object]] = [{"type": "dance"}, {"type": None}]
    if "options" in whole:
        wrong += [{"options": "none"}, {"options": {"sandbox": "open"}}]
    for part in wrong:
        with pytest.raises((KeyError, TypeError, ValueError)):
            request_from_json(whole | part)


def test_an_option_that_codex_does_not_know_is_an_error() -> None:
    whole = request_to_json(CHAT)
    given_options = whole["options"]
    assert isinstance(given_options, dict)
    for wrong in (
        {"sandbox": "open"},
        {"approval_policy": "always"},
        {"collaboration_mode": "dance"},
    ):
        with pytest.raises(ValueError, match="is not a valid"):
            request_from_json(whole | {"options": given_options | wrong})


@given(request_=requests)
def test_the_same_payload_has_the_same_hash(request_: TaskRequest) -> None:
    again = request_from_json(request_to_json(request_))
    assert payload_hash(Submission(request_)) == payload_hash(Submission(again))


def test_what_an_earlier_release_wrote_can_be_read() -> None:
    whole = request_to_json(CHAT)
    former = {name: value for name, value in whole.items() if name not in later_parts(CHAT)}
    assert request_from_json(former) == CHAT


def test_every_part_of_a_payload_tells_it_from_another() -> None:
    variations = [
        Submission(CHAT, resource_keys=("src",)),
        Submission(REVIEW),
        Submission(replace(REVIEW, target=UncommittedChanges())),
        Submission(replace(CHAT, attachments=(LocalImage("/work/roof.png"),))),
        Submission(replace(CHAT, options=replace(SAFE, output_schema={"type": "object"}))),
        Submission(CHAT),
        Submission(MESSAGE),
        Submission(STEERING),
        Submission(replace(STEERING, expected_turn_id=TurnId("turn-2"))),
        Submission(replace(CHAT, message="Fix the roof")),
        Submission(replace(CHAT, cwd="/work/garden")),
        Submission(replace(CHAT, project_id=ProjectId("garden"))),
        Submission(replace(CHAT, title="Roof")),
        Submission(replace(CHAT, ephemeral=True)),
        Submission(replace(CHAT, options=replace(SAFE, sandbox=Sandbox.WORKSPACE_WRITE))),
        Submission(replace(CHAT, options=replace(SAFE, approval_policy=ApprovalPolicy.NEVER))),
        Submission(replace(CHAT, options=replace(SAFE, model="gpt"))),
        Submission(replace(CHAT, options=replace(SAFE, effort="high"))),
        Submission(replace(CHAT, options=replace(SAFE, collaboration_mode=CollaborationMode.PLAN))),
        Submission(replace(MESSAGE, thread_id=ThreadId("t2"))),
        Submission(CHAT, agent_id="ann"),
        Submission(CHAT, priority=Priority.HIGH),
        Submission(CHAT, dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY),
    ]
    assert len({payload_hash(submission) for submission in variations}) == len(variations)


def test_the_client_request_id_is_no_part_of_the_payload() -> None:
    assert payload_hash(Submission(CHAT, client_request_id="1")) == payload_hash(Submission(CHAT))


@given(message=st.text(), form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_unicode_form_does_not_make_another_prompt(message: str, form: str) -> None:
    assert form in ("NFC", "NFD", "NFKC", "NFKD")
    assert key(unicodedata.normalize(form, message)) == key(message)  # type: ignore[arg-type]


@given(
    words=st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), min_size=1),
    gaps=st.lists(st.sampled_from([" ", "\n", "\t", "  ", "\r\n", "\u00a0", "\u2003"]), min_size=9),
)
def test_white_space_does_not_make_another_prompt(words: list[str], gaps: list[str]) -> None:
    spread = gaps[0] + "".join(word + gaps[number % len(gaps)] for number, word in enumerate(words))
    assert key(spread) == key(" ".join(words))


@given(message=st.text(st.characters(codec="ascii") | st.sampled_from("äöüéñΩЖ")))
def test_case_does_not_make_another_prompt(message: str) -> None:
    assert key(message.upper()) == key(message.lower()) == key(message)


@given(message=st.text())
def test_what_is_normalised_stays_as_it_is(message: str) -> None:
    assert normalised(normalised(message)) == normalised(message)


@given(
    before=st.text(st.characters(categories=["Ll", "Nd"], codec="ascii"), min_size=1),
    after=st.text(st.characters(categories=["Ll", "Nd"], codec="ascii"), min_size=1),
)
def test_any_other_letter_or_digit_is_another_prompt(before: str, after: str) -> None:
    assert (key(before) == key(after)) == (before == after)


def test_similar_is_not_the_same() -> None:
    assert key("Review PR #41") == key("review  pr #41\n")
    assert key("Review PR #41") != key("Review PR #42")
    assert key("Review PR #41") != key("ReviewPR #41")
    assert key("\N{FULLWIDTH LATIN CAPITAL LETTER F}ix the roof.") == key("fix the roof.")
    assert key("") != key("-")


def test_the_same_words_in_another_project_are_another_prompt() -> None:
    assert key("Fix it.", "house") != key("Fix it.", "garden")
    # The two parts are not simply strung together.
    assert key("b c", "a") != key("c", "a b")


def test_how_the_turn_runs_does_not_make_another_prompt() -> None:
    eager = replace(CHAT, options=replace(SAFE, model="gpt"), cwd="/else", title="Roof")
    assert prompt_key(Submission(eager)) == prompt_key(Submission(MESSAGE)) == key(CHAT.message)


def test_other_attachments_make_another_prompt() -> None:
    pictured = replace(CHAT, attachments=(LocalImage("/work/roof.png"),))
    assert prompt_key(Submission(pictured)) != prompt_key(Submission(CHAT))


def test_two_reviews_of_the_same_are_the_same_prompt_and_a_bare_fork_is_none() -> None:
    assert prompt_key(Submission(REVIEW)) == prompt_key(
        Submission(replace(REVIEW, thread_id=ThreadId("t1")))
    )
    assert prompt_key(Submission(FORK)) is None


def test_a_thread_is_compacted_once_at_a_time_whoever_asks() -> None:
    elsewhere = replace(COMPACTION, cwd="/else")
    assert prompt_key(Submission(elsewhere)) == prompt_key(Submission(COMPACTION))
    other = replace(COMPACTION, thread_id=ThreadId("t2"))
    assert prompt_key(Submission(other)) != prompt_key(Submission(COMPACTION))


def test_whoever_wants_no_guard_has_no_key() -> None:
    assert prompt_key(Submission(CHAT, dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY)) is None


def test_steering_starts_no_work_and_so_has_no_key_and_asks_for_no_sandbox() -> None:
    assert prompt_key(Submission(STEERING)) is None
    assert sandbox_of(STEERING) is Sandbox.READ_ONLY
    assert sandbox_of(CHAT) is sandbox_of(MESSAGE) is SAFE.sandbox
