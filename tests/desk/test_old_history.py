"""Chats in the files of an older history: found where nobody else knows them, and only read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from codex_control_plane_mcp.desk import old_history
from codex_control_plane_mcp.desk.chats import Wanted
from codex_control_plane_mcp.errors import InvalidArgument, ThreadNotFound
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import Role
from tests.desk.reception import Reception, reception
from tests.desk.shelves import Shelves, a_thread, said

OLD = ThreadId("old-1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "history"


@pytest.fixture
def at(tmp_path: Path, root: Path) -> Iterator[Reception]:
    with reception(tmp_path, kb_history_root=root) as opened:
        yield opened


def turn(root: Path, name: str, content: object, chat: str = OLD) -> Path:
    """A file as those programs wrote them, or as they might have."""
    file = root / "shop" / "threads" / chat / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def told(at: Reception, name: str, *messages: Mapping[str, object]) -> dict[str, object]:
    return {
        "ids": {"thread_id": OLD, "turn_id": f"u-{name}"},
        "project": {"cwd": str(at.project)},
        "messages": list(messages),
    }


async def texts(at: Reception, **more: bool) -> list[tuple[Role, str]]:
    chat = await at.desk.chat(Wanted(OLD, **more))  # type: ignore[arg-type]
    assert chat.source == "kb_history"
    return [(message.role, message.text) for message in chat.messages or ()]


async def test_an_old_chat_is_read_turn_after_turn(at: Reception, root: Path) -> None:
    turn(root, "b", told(at, "b", {"role": "assistant", "text": "Bye."}))
    answer = {"role": "assistant", "text": "Hi.", "captured_at_utc": "2025-01-01T00:00:02Z"}
    question = {"role": "user", "text": "Hello?", "captured_at_utc": "2025-01-01T00:00:01Z"}
    command = {"role": "tool", "text": "$ ls", "captured_at_utc": "2025-01-01T00:00:02Z"}
    turn(root, "a", told(at, "a", answer, command, question))

    assert await texts(at) == [
        (Role.USER, "Hello?"),
        (Role.ASSISTANT, "Hi."),
        (Role.ASSISTANT, "Bye."),
    ]
    assert len(await texts(at, with_tools=True)) == 4
    chat = await at.desk.chat(Wanted(OLD))
    assert [message.turn_id for message in chat.messages or ()] == ["u-a", "u-a", "u-b"]
    status = await at.desk.chat_status(OLD)
    assert (status.status, status.source, status.cwd) == ("idle", "kb_history", str(at.project))


async def test_files_of_all_kinds_are_read_as_far_as_they_can_be(at: Reception, root: Path) -> None:
    turn(root, "a", told(at, "a", {"role": "user", "content": [{"text": "One"}, "two", 3]}))
    turn(root, "b", [{"role": "agent", "text": "A bare list."}, "rubbish"])
    turn(root, "c", "{")
    turn(root, "d", {"messages": {"not": "a list"}})
    turn(root, "e", "[" * 100_000)
    turn(root, "f", "\ufeff" + json.dumps({"messages": [{"role": "user", "text": "A mark."}]}))
    turn(root, "g", {"messages": [{"role": 5, "text": None, "sequence": "x", "timestamp": 7}]})

    assert await texts(at) == [
        (Role.USER, "One\ntwo"),
        (Role.ASSISTANT, "A bare list."),
        (Role.NOTICE, "A part of this chat cannot be read: c.json"),
        (Role.NOTICE, "A part of this chat cannot be read: d.json"),
        (Role.NOTICE, "A part of this chat cannot be read: e.json"),
        (Role.USER, "A mark."),
    ]


async def test_the_root_may_also_be_the_folder_above_the_projects(
    at: Reception, root: Path
) -> None:
    turn(root / "projects", "a", told(at, "a", {"role": "user", "text": "Here."}))
    assert await texts(at) == [(Role.USER, "Here.")]


async def test_whoever_knows_more_is_asked_first(at: Reception, root: Path) -> None:
    turn(root, "a", told(at, "a", {"role": "user", "text": "Old."}))
    shelves = Shelves()
    shelves.add(a_thread(OLD, at.project), said(0, "New."))
    at.runtime.shelves = shelves

    assert (await at.desk.chat(Wanted(OLD))).source == "app_server"


@pytest.mark.parametrize("project", [None, {"cwd": "/"}, {"cwd": "shop"}, {"cwd": 5}, "shop"])
async def test_what_belongs_elsewhere_or_nowhere_is_not_shown(
    at: Reception, root: Path, project: object
) -> None:
    turn(root, "a", {**told(at, "a", {"role": "user", "text": "Diary."}), "project": project})
    with pytest.raises(InvalidArgument, match="outside"):
        await at.desk.chat(Wanted(OLD))


@pytest.mark.parametrize("chat", ["..", "../old-1", "*", "old-?", "/etc", "old-1/../old-1", "."])
async def test_an_id_is_no_way_to_other_files(at: Reception, root: Path, chat: str) -> None:
    turn(root, "a", told(at, "a", {"role": "user", "text": "Here."}))
    with pytest.raises(ThreadNotFound):
        await at.desk.chat(Wanted(ThreadId(chat)))


async def test_a_file_that_cannot_be_a_turn_is_not_read(
    at: Reception, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = turn(root, "a", told(at, "a", {"role": "user", "text": "Here."}))
    large = turn(root, "b", told(at, "b", {"role": "user", "text": "x"}))
    most = usual.stat().st_size
    monkeypatch.setattr(old_history, "MAX_FILE_BYTES", most)
    os.truncate(large, most + 1)
    assert (await texts(at))[-1] == (Role.NOTICE, "A part of this chat cannot be read: b.json")
