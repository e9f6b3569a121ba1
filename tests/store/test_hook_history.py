"""What hooks told is kept once, in order, without secrets, and cut to length."""

from dataclasses import replace
from typing import Any

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.store import hook_history
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind
from tests.store.actors import NOON, Desk

PROMPT = HookEvent(
    event_id="1-a",
    kind=HookKind.PROMPT,
    at=NOON,
    thread_id=ThreadId("t-1"),
    turn_id=TurnId("u-1"),
    cwd="/work",
    model="gpt",
    text="Mend the till.",
)


def keep(desk: Desk, *events: HookEvent, most: int = 1000) -> None:
    for event in events:
        desk.write(lambda writing, event=event: hook_history.keep(writing, event, most))  # type: ignore[misc]


def kept(desk: Desk, seq: int = 0, limit: int = 10) -> list[hook_history.Kept]:
    return desk.read(lambda connection: hook_history.after(connection, seq, limit))


def test_events_come_back_as_they_were_in_the_order_they_were_kept(desk: Desk) -> None:
    session = replace(PROMPT, event_id="0-b", kind=HookKind.SESSION, turn_id=None, model=None)
    keep(desk, PROMPT, replace(session, at=Moment(NOON - 5)))

    assert [(one.seq, one.event.kind) for one in kept(desk)] == [(1, "prompt"), (2, "session")]
    assert kept(desk)[0].event == PROMPT
    assert [one.seq for one in kept(desk, seq=1)] == [2]
    assert len(kept(desk, limit=1)) == 1


def test_the_same_event_is_kept_once(desk: Desk) -> None:
    keep(desk, PROMPT, PROMPT, replace(PROMPT, text="other"))
    assert [one.event.text for one in kept(desk)] == ["Mend the till."]


def test_half_a_secret_is_not_kept_either(desk: Desk) -> None:
    secret = "sk-proj-abcdefghijklmnop1234567890"
    keep(desk, replace(PROMPT, text=f"Use {secret} for it, \0 and \ud800."), most=12)
    (one,) = kept(desk)
    assert one.event.text == "Use [redacted] for it"[:12]


def test_a_thread_is_gone_through_in_either_direction_whatever_the_clock_did(desk: Desk) -> None:
    def event(number: int, at: int, **more: Any) -> HookEvent:
        fields = {"event_id": f"e-{number}", "at": Moment(NOON + at), "text": f"{number}", **more}
        return replace(PROMPT, **fields)

    elsewhere = event(9, 1, thread_id=ThreadId("t-2"))
    keep(desk, event(1, 0), event(2, 5), event(3, 5), event(4, -5), elsewhere)

    for back, expected in ((False, "4123"), (True, "3214")):
        said, beside = "", None
        while True:
            one = desk.read(
                lambda c, beside=beside, back=back: hook_history.in_thread(  # type: ignore[misc]
                    c, ThreadId("t-1"), beside, back=back
                )
            )
            if one is None:
                break
            said, beside = said + one.event.text, (one.event.at, one.seq)
        assert said == expected


def test_the_newest_is_never_forgotten_so_that_numbers_go_on(desk: Desk) -> None:
    keep(desk, PROMPT, replace(PROMPT, event_id="2"), replace(PROMPT, event_id="3"))
    later = Moment(NOON + 1)
    assert desk.read(lambda c: hook_history.count_before(c, NOON)) == 0
    assert desk.read(lambda c: hook_history.count_before(c, later)) == 2
    assert desk.write(lambda writing: hook_history.forget_before(writing, later)) == 2
    keep(desk, replace(PROMPT, event_id="4"))
    assert [one.seq for one in kept(desk)] == [3, 4]
