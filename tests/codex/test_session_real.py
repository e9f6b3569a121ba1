"""Every verb against the real binary, and the sentences with which it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.codex import errors
from codex_control_plane_mcp.codex.inbox import Said
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words import events, things, verbs
from codex_control_plane_mcp.codex.words.answers import decide, reply
from codex_control_plane_mcp.codex.words.questions import (
    CommandApproval,
    FileChangeApproval,
    UserInputRequested,
)
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.scripted_model.server import ScriptedModel
from tests.codex.actors import PATIENCE_SECONDS, NewSupervisor, ask, new_thread, until

pytestmark = [pytest.mark.real]

UNKNOWN = ThreadId("0199aaaa-0000-7000-8000-000000000000")
SOME_TURN = TurnId("x")
TEXT = (verbs.Text("say hello"),)


@pytest.fixture
async def session(new_supervisor: NewSupervisor) -> AsyncIterator[CodexSession]:
    async with new_supervisor().connect() as session:
        yield session


async def play(session: CodexSession, turn: verbs.StartTurn) -> list[Said]:
    """Run a turn to its end; everything that was said about it."""
    seen: list[Said] = []
    with session.inbox(turn.thread_id) as inbox:
        await session.start_turn(turn)
        await until(inbox, events.TurnCompleted, seen)
    return seen


def items(seen: list[Said]) -> list[things.Item]:
    return [said.item for said in seen if isinstance(said, events.ItemCompleted)]


async def test_the_settings_of_a_new_thread_come_back(session: CodexSession, project: Path) -> None:
    for sandbox, kind in (
        ("read-only", "readOnly"),
        ("workspace-write", "workspaceWrite"),
        ("danger-full-access", "dangerFullAccess"),
    ):
        begun = await session.start_thread(
            verbs.StartThread(str(project), sandbox, "never")  # type: ignore[arg-type]
        )
        assert begun.sandbox.kind == kind
        assert (begun.approval_policy, begun.model, begun.cwd) == (
            "never",
            "scripted",
            str(project),
        )


async def test_a_turn_is_followed_from_start_to_report(
    session: CodexSession, project: Path
) -> None:
    thread_id = await new_thread(session, project)
    seen = await play(session, ask(thread_id, "think hm\nrun echo hi\nstream 20 words\nsay bye"))
    *_, completed = seen

    assert isinstance(completed, events.TurnCompleted)
    assert completed.turn.final_message is not None
    assert completed.turn.final_message.text == "bye"
    kinds = [type(item) for item in items(seen)]
    assert kinds == [
        things.UserMessage,
        things.Reasoning,
        things.CommandExecution,
        things.AgentMessage,
        things.AgentMessage,
    ]
    listed = (await session.list_entries(verbs.ListItems(thread_id))).data
    assert [entry.id for entry in listed] == [item.id for item in items(seen)]
    assert [entry.role for entry in listed] == [
        "user",
        "reasoning",
        "tool",
        "assistant",
        "assistant",
    ]
    assert listed[2].text.endswith("hi\n[exit code 0]")
    assert all(entry.at for entry in listed)
    (turn,) = (await session.list_turns(verbs.ListTurns(thread_id))).data
    assert turn.was_asked_with("mine")
    thread = await session.read_thread(thread_id, include_turns=True)
    assert [turn.status for turn in thread.turns] == ["completed"]
    assert not [said for said in seen if isinstance(said, events.UnknownNotification)]


async def test_a_plain_no_lets_the_turn_go_on_though_codex_does_not_list_it(
    session: CodexSession, project: Path
) -> None:
    thread_id = await new_thread(session, project)
    with session.inbox(thread_id) as inbox:
        await session.start_turn(ask(thread_id, "run! printf hi > hi.txt\nsay went on"))
        asked = await until(inbox, CommandApproval)
        await session.answer(asked.request_id, decide(asked, "decline"))
        seen: list[Said] = []
        completed = await until(inbox, events.TurnCompleted, seen)

    assert completed.turn.status == "completed"
    assert not (project / "hi.txt").exists()
    resolved = [said for said in seen if isinstance(said, events.ServerRequestResolved)]
    assert [said.request_id for said in resolved] == [asked.request_id]


async def test_a_file_change_is_asked_for_and_made(session: CodexSession, project: Path) -> None:
    thread_id = await new_thread(session, project)
    with session.inbox(thread_id) as inbox:
        await session.start_turn(ask(thread_id, "patch add a.txt: hello\nsay done"))
        seen: list[Said] = []
        asked = await until(inbox, FileChangeApproval, seen)
        await session.answer(asked.request_id, decide(asked, "accept"))
        await until(inbox, events.TurnCompleted, seen)

    (change,) = [item for item in items(seen) if isinstance(item, things.FileChange)]
    assert (change.status, change.files[0].kind) == ("completed", "add")
    assert (project / "a.txt").read_text().strip() == "hello"


async def test_a_question_in_plan_mode_is_answered_and_the_plan_proposed(
    session: CodexSession, project: Path
) -> None:
    thread_id = await new_thread(session, project)
    turn = verbs.StartTurn(
        thread_id,
        (verbs.Text("ask Which colour? | red | blue\nplan # Paint it"),),
        collaboration_mode=verbs.CollaborationMode("plan", "scripted"),
    )
    with session.inbox(thread_id) as inbox:
        await session.start_turn(turn)
        asked = await until(inbox, UserInputRequested)
        (question,) = asked.questions
        chosen = question.options[0].label
        await session.answer(asked.request_id, reply(asked, {question.id: chosen}))
        seen: list[Said] = []
        await until(inbox, events.TurnCompleted, seen)

    (plan,) = [item for item in items(seen) if isinstance(item, things.ProposedPlan)]
    assert "Paint it" in plan.text


async def test_a_running_turn_is_steered_and_interrupted(
    session: CodexSession, project: Path, model: ScriptedModel
) -> None:
    thread_id = await new_thread(session, project)
    with session.inbox(thread_id) as inbox:
        turn = await session.start_turn(ask(thread_id, "hold gate\nsay late"))
        await model.arrived("gate")
        with pytest.raises(errors.WrongActiveTurn) as caught:
            await session.steer_turn(verbs.SteerTurn(thread_id, SOME_TURN, TEXT))
        assert caught.value.found == turn.id
        with pytest.raises(errors.WrongActiveTurn):
            await session.interrupt_turn(thread_id, SOME_TURN)
        assert await session.steer_turn(verbs.SteerTurn(thread_id, turn.id, TEXT)) == turn.id
        await session.interrupt_turn(thread_id, turn.id)
        completed = await until(inbox, events.TurnCompleted)

    assert completed.turn.status == "interrupted"
    # To interrupt, not to steer, Codex 0.163 goes on to take the interrupted turn for the active
    # one: another id is "wrong", and the right one is never answered.
    with pytest.raises((errors.NoActiveTurn, errors.WrongActiveTurn)):
        await session.interrupt_turn(thread_id, SOME_TURN)
    with pytest.raises((errors.NoActiveTurn, errors.CallTimedOut)):
        await session.interrupt_turn(thread_id, turn.id, timeout_seconds=0.5)
    with pytest.raises(errors.NoActiveTurn):
        await session.steer_turn(verbs.SteerTurn(thread_id, turn.id, TEXT))


async def test_a_thread_that_does_not_exist_is_not_found_by_any_verb(session: CodexSession) -> None:
    turn, target = verbs.SteerTurn(UNKNOWN, SOME_TURN, TEXT), verbs.UncommittedChanges()
    for call in (
        lambda: session.resume_thread(verbs.ResumeThread(UNKNOWN)),
        lambda: session.resume_thread(verbs.ResumeThread(ThreadId("no id at all"))),
        lambda: session.fork_thread(verbs.ForkThread(UNKNOWN)),
        lambda: session.read_thread(UNKNOWN),
        lambda: session.list_turns(verbs.ListTurns(UNKNOWN)),
        lambda: session.start_turn(verbs.StartTurn(UNKNOWN, TEXT)),
        lambda: session.steer_turn(turn),
        lambda: session.interrupt_turn(UNKNOWN, SOME_TURN),
        lambda: session.start_review(verbs.StartReview(UNKNOWN, target)),
        lambda: session.compact_thread(UNKNOWN),
        lambda: session.archive_thread(UNKNOWN),
        lambda: session.unarchive_thread(UNKNOWN),
        lambda: session.name_thread(UNKNOWN, "name"),
        lambda: session.get_goal(UNKNOWN),
    ):
        with pytest.raises(errors.ThreadNotFound):
            await call()


async def test_the_history_of_a_thread_without_a_turn_is_not_ready(
    session: CodexSession, project: Path
) -> None:
    thread_id = await new_thread(session, project)

    with pytest.raises(errors.HistoryNotReady):
        await session.list_turns(verbs.ListTurns(thread_id))
    with pytest.raises(errors.HistoryNotReady):
        await session.list_entries(verbs.ListItems(thread_id))


async def test_a_thread_that_never_had_a_turn_is_gone_with_its_process(
    new_supervisor: NewSupervisor, project: Path
) -> None:
    """F4"""
    supervisor = new_supervisor()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            thread_id = await new_thread(session, project)
        await supervisor.drain()
        async with supervisor.connect() as session:
            with pytest.raises(errors.ThreadNotFound):
                await session.resume_thread(verbs.ResumeThread(thread_id))


async def test_a_thread_whose_file_is_empty_cannot_be_read(
    new_supervisor: NewSupervisor, project: Path, codex_home: Path
) -> None:
    """A process that was killed can leave it so."""
    supervisor = new_supervisor()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with supervisor.connect() as session:
            thread_id = await new_thread(session, project)
            await play(session, ask(thread_id, "say hello"))
        await supervisor.drain()
        (rollout,) = codex_home.glob(f"sessions/**/*{thread_id}*")
        rollout.write_bytes(b"")
        async with supervisor.connect() as session:
            with pytest.raises(errors.ThreadUnreadable):
                await session.resume_thread(verbs.ResumeThread(thread_id))
            with pytest.raises(errors.ThreadUnreadable):
                await session.list_turns(verbs.ListTurns(thread_id))


async def test_threads_are_named_listed_forked_archived_and_brought_back(
    session: CodexSession, project: Path
) -> None:
    thread_id = await new_thread(session, project)
    await play(session, ask(thread_id, "say hello"))
    await session.name_thread(thread_id, "Ours")
    (found,) = (await session.list_threads(verbs.ListThreads((str(project),)))).data
    assert (found.id, found.name) == (thread_id, "Ours")

    fork = await session.fork_thread(
        verbs.ForkThread(thread_id, sandbox="workspace-write", approval_policy="never")
    )
    assert fork.thread.forked_from_id == thread_id
    assert fork.sandbox.kind == "workspaceWrite"

    await session.archive_thread(thread_id)
    archived = (await session.list_threads(verbs.ListThreads((str(project),), archived=True))).data
    assert [thread.id for thread in archived] == [thread_id]
    assert (await session.unarchive_thread(thread_id)).id == thread_id


async def test_a_compaction_is_a_turn(session: CodexSession, project: Path) -> None:
    thread_id = await new_thread(session, project)
    await play(session, ask(thread_id, "say hello"))
    with session.inbox(thread_id) as inbox:
        seen: list[Said] = []
        await session.compact_thread(thread_id)
        await until(inbox, events.TurnCompleted, seen)

    assert things.ContextCompaction in [type(item) for item in items(seen)]


async def test_what_this_codex_offers_can_be_asked(session: CodexSession, project: Path) -> None:
    diagnostics = await session.diagnostics()
    assert session.app_server.process is not None
    assert diagnostics.pid == session.app_server.process.pid
    assert "scripted" in [model.model for model in (await session.list_models()).data]
    assert (await session.account()).kind is None
    assert (await session.list_projects()).next_cursor is None
    assert await session.list_hooks((str(project),)) == ()
    assert await session.count_skills((str(project),)) > 0
    profiles = (await session.list_permission_profiles()).data
    assert {":read-only", ":workspace", ":danger-full-access"} <= {one.id for one in profiles}
    assert (await session.provider_capabilities()).web_search is not None
    assert (await session.requirements()).sandbox_modes is None
    for verb in verbs.Survey:
        if verb not in (verbs.Survey.ACCOUNT_USAGE, verbs.Survey.RATE_LIMITS):
            assert await session.survey(verb)
    with pytest.raises(errors.Refused, match="authentication required"):
        await session.survey(verbs.Survey.RATE_LIMITS)
