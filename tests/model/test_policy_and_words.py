"""Roots that hold a path, ids that sort, and the words that are part of the stored book."""

from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    OperationId,
    new_client_message_id,
    new_interaction_id,
    new_operation_id,
    new_wish_id,
)
from codex_control_plane_mcp.model.interaction import CLOSED, InteractionStatus, Kind
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.policy import is_within

names = st.text(st.characters(categories=["Ll", "Lu", "Nd"]) | st.just("-"), min_size=1)


@given(root=st.lists(names), below=st.lists(names))
def test_a_root_holds_itself_and_all_below_it(root: list[str], below: list[str]) -> None:
    path = PurePosixPath("/", *root)
    assert is_within(path.joinpath(*below), [PurePosixPath("/elsewhere"), path])


@given(root=st.lists(names, min_size=1), tail=names, below=st.lists(names))
def test_a_root_does_not_hold_a_neighbour_whose_name_begins_alike(
    root: list[str], tail: str, below: list[str]
) -> None:
    path = PurePosixPath("/", *root)
    assert not is_within(path.with_name(path.name + tail).joinpath(*below), [path])
    assert not is_within(path.parent, [path])


@pytest.mark.parametrize(
    ("path", "roots", "inside"),
    [
        (PurePosixPath("/work"), [], False),
        (PurePosixPath("/work/a"), [PurePosixPath("/work")], True),
        (PurePosixPath("/Work/a"), [PurePosixPath("/work")], False),
        (PureWindowsPath("C:/Work/a"), [PureWindowsPath("c:/work")], True),
        (PureWindowsPath("D:/work/a"), [PureWindowsPath("C:/work")], False),
    ],
)
def test_drives_and_case_count_as_the_system_counts_them(
    path: PurePath, roots: list[PurePath], inside: bool
) -> None:
    assert is_within(path, roots) is inside


@given(moments=st.lists(st.integers(0, 2**45), min_size=2, max_size=2, unique=True))
def test_ids_sort_by_the_time_they_were_made(moments: list[int]) -> None:
    earlier, after = Moment(min(moments)), Moment(max(moments))
    for make in (new_operation_id, new_interaction_id, new_wish_id):
        assert make(earlier) < make(after)


def test_ids_made_at_the_same_moment_differ_sort_by_arrival_and_say_what_they_name() -> None:
    now = Moment(1_800_000_000_000)
    made = [new_operation_id(now) for _ in range(1000)]
    assert made == sorted(set(made))
    assert {len(id_) for id_ in made} == {len(new_operation_id(Moment(now + 1)))}
    assert new_operation_id(now).startswith("op_")
    assert new_interaction_id(now).startswith("ia_")
    assert new_wish_id(now).startswith("wi_")


def test_each_attempt_of_each_operation_has_a_message_id_of_its_own() -> None:
    ids = [
        new_client_message_id(OperationId(operation), attempt)
        for operation in ("op_1", "op_11")
        for attempt in range(1, 30)
    ]
    assert len(set(ids)) == len(ids)


def test_an_interaction_is_pending_or_closed() -> None:
    assert frozenset({InteractionStatus.PENDING}) | CLOSED == frozenset(InteractionStatus)
    assert InteractionStatus.PENDING not in CLOSED


def test_stored_words_do_not_change_for_books_hold_them() -> None:
    assert " ".join(Kind) == "approval permissions user_input elicitation"
    assert " ".join(InteractionStatus) == "pending answered auto_declined expired withdrawn"
    assert " ".join(Category) == (
        "state assistant plan reasoning command file_change tool interaction checklist notice "
        "error gap"
    )
    assert " ".join(Status) == (
        "queued starting_thread starting_turn running waiting_for_approval waiting_for_user_input "
        "completed failed interrupted cancelled unknown_after_app_server_exit"
    )
