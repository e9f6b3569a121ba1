"""Editing `hooks.json`: what others wrote there stays, to the letter where it can."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.doors.cli import config_file, hooks_command, hooks_file
from codex_control_plane_mcp.doors.cli.config_file import Unreadable
from codex_control_plane_mcp.doors.cli.hooks_command import Command, parsed, without_spaces, written
from codex_control_plane_mcp.doors.cli.hooks_file import EVENTS, installed, uninstalled
from codex_control_plane_mcp.errors import InvalidArgument

OURS = hooks_command.written(
    Command(Path("/v/python"), Path("/p/codex_control_plane_mcp/journal_hook.py"), Path("/s.db"))
)
ODD = """\
{ "description" : "mine",\t"hooks":{
    "Stop" : [
        {"hooks": [ {"type":"command","command":"say \\u00e9 \\"done\\"", "timeout":1.50} ]},
        {"matcher": "*", "hooks": []}
    ],
  "PreToolUse":[{"hooks":[{"type":"command","command":"guard"}]}], "Odd": 5 }
}
"""


def commands(text: str, event: str) -> list[str]:
    groups = json.loads(text)["hooks"].get(event, [])
    return [handler["command"] for group in groups for handler in group["hooks"]]


def test_ours_comes_last_and_every_byte_of_others_stays() -> None:
    text = installed(ODD, OURS)

    assert commands(text, "Stop") == ['say é "done"', OURS]
    assert commands(text, "UserPromptSubmit") == commands(text, "SessionStart") == [OURS]
    assert uninstalled(text) == ODD
    for line in ODD.splitlines()[2:4]:
        assert line in text


@pytest.mark.parametrize(
    "text",
    [
        '{"hooks":{}}',
        '{"hooks": {"Stop": [{"hooks": [{"command": "a"}]}]}}',
        '{\r\n\t"hooks": {\r\n\t\t"Stop": [\r\n\t\t\t{"hooks": []}\r\n\t\t]\r\n\t}\r\n}',
        '  {"a": [1, {"b": null}], "hooks": { "Other": [ ] } }  ',
        ODD,
    ],
)
def test_in_and_out_again_leaves_the_file_as_it_was(text: str) -> None:
    there = installed(text, OURS)
    assert installed(there, OURS) == there
    assert uninstalled(there) == text


_PLAIN = st.text(alphabet='abc "\\\u00e9\u6771', max_size=5)
_GROUPS = st.lists(
    st.fixed_dictionaries(
        {"hooks": st.lists(st.fixed_dictionaries({"command": _PLAIN}), max_size=2)},
        optional={"matcher": _PLAIN},
    ),
    min_size=1,
    max_size=3,
)
_FILES = st.fixed_dictionaries(
    {"hooks": st.dictionaries(st.sampled_from([*EVENTS, "PreToolUse", "Odd"]), _GROUPS)},
    optional={"other": _PLAIN},
)


@given(stored=_FILES, indent=st.sampled_from([None, 0, 1, 4]), ascii=st.booleans())
def test_so_it_is_with_any_file(stored: dict[str, Any], indent: int | None, ascii: bool) -> None:  # noqa: A002
    text = json.dumps(stored, indent=indent, ensure_ascii=ascii)
    there = installed(text, OURS)

    assert [one.event.key for one in hooks_file.handlers(there)].count("Stop") == 1
    assert {one.event.key for one in hooks_file.handlers(there)} == set(EVENTS)
    for event, groups in stored["hooks"].items():
        assert json.loads(there)["hooks"][event][: len(groups)] == groups
    assert uninstalled(there) == text


def test_an_older_one_of_ours_is_replaced_where_it_stands() -> None:
    old = json.dumps({"type": "command", "command": "/old/codex-control-plane-mcp-hooks handle"})
    mixed, alone = f'{{"hooks": [{old}, {{"command": "theirs"}}]}}', f'{{"hooks": [{old}]}}'
    text = f'{{"hooks": {{"Stop": [{mixed}, {alone}]}}}}'

    there = installed(text, OURS)

    assert commands(there, "Stop") == [OURS, "theirs"]
    assert hooks_file.those_behind(there) == ()
    assert commands(uninstalled(there), "Stop") == ["theirs"]


def test_it_is_known_whose_place_changes_when_ours_goes() -> None:
    text = installed('{"hooks": {}}', OURS)
    stored = json.loads(text)
    stored["hooks"]["Stop"].append({"hooks": [{"command": "theirs"}]})
    assert hooks_file.those_behind(json.dumps(stored)) == ("Stop",)


# --- The file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"hooks": []}',
        b'{"hooks": {"Stop": {}}}',
        b'{"hooks": {}, "hooks": {}}',
        b'{"hooks": {}} // mine',
        b'{/* mine */ "hooks": {}}',
        b'{"hooks": {},}',
        b'\xef\xbb\xbf{"hooks": {}}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_not_plain_json_is_left_alone(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    file.write_bytes(content)
    with pytest.raises(Unreadable, match=r"hooks\.json"):
        hooks_file.change(file, lambda text: installed(text, OURS))
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_as_it_was_is_kept_only_when_something_changes(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    file.write_text(ODD)
    file.chmod(0o640)

    first = hooks_file.change(file, lambda text: installed(text, OURS))
    second = hooks_file.change(file, lambda text: installed(text, OURS))

    assert first.backup is not None
    assert first.backup.read_text() == ODD
    assert second == config_file.Change(changed=False)
    assert len(list(tmp_path.iterdir())) == 2
    if os.name == "posix":
        assert (
            stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(first.backup.stat().st_mode) == 0o640
        )


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege there")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text(ODD)
    file = tmp_path / "hooks.json"
    file.symlink_to(real)
    hooks_file.change(file, lambda text: installed(text, OURS))
    assert file.is_symlink()
    assert commands(real.read_text(), "SessionStart") == [OURS]


def test_a_change_by_somebody_else_meanwhile_is_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    file.write_text(ODD)

    def edit(text: str) -> str:
        file.write_text('{"theirs": 1}')
        return installed(text, OURS)

    with pytest.raises(Unreadable, match="somebody else"):
        hooks_file.change(file, edit)
    assert file.read_text() == '{"theirs": 1}'


# --- The command ---------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="for a POSIX shell")
def test_a_path_is_read_by_the_shell_as_it_is_meant() -> None:
    command = Command(
        Path("/a b/py'thon"), Path("/codex_control_plane_mcp/journal_hook.py"), Path("/$s;.db")
    )
    assert parsed(written(command)) == command
    assert hooks_command.is_ours(written(command))
    assert parsed("python 'unfinished") is None


def test_on_windows_no_path_needs_quotes() -> None:
    short = {r"C:\Program Files\py.exe": r"C:\PROGRA~1\py.exe", r"C:\My State": r"C:\MYSTAT~1"}

    def name(path: str) -> str:
        return short.get(path, "")

    assert without_spaces(r"C:\py\python.exe", name) == r"C:\py\python.exe"
    assert without_spaces(r"C:\Program Files\py.exe", name) == r"C:\PROGRA~1\py.exe"
    with pytest.raises(InvalidArgument, match="100% mine"):
        without_spaces(r"D:\100% mine\s.db", name)
