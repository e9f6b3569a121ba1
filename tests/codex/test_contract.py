"""Our words against the installed Codex's own schema, and Codexes that have changed.

Codex ignores fields that it does not know, so a misspelled one would be lost in silence, and what
we read by a wrong name would be "missing" for ever. Both are found here. A newer Codex that says
something else turns this red: then mend the words.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from codex_control_plane_mcp.codex.contract import Fit, compared
from codex_control_plane_mcp.codex.schema import Schema, Spy
from codex_control_plane_mcp.codex.words import events, questions, samples, verbs

pytestmark = [pytest.mark.real]

SENT = (*samples.CORE, *samples.ACTS, *samples.LOOKS)


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


# The installed Codex


def test_the_installed_codex_fits_in_every_point(schemas: Path) -> None:
    assert compared(schemas) == Fit()


@pytest.mark.parametrize("verb", SENT, ids=lambda verb: verb.method)
def test_a_real_validator_has_no_complaint_either(
    verb: verbs.Verb, client_requests: Schema
) -> None:
    params = verb.to_wire()
    message = {"id": 1, "method": verb.method, **({} if params is None else {"params": params})}
    schema = client_requests.methods()[verb.method]
    validator = jsonschema.Draft7Validator(
        {**schema, "definitions": client_requests.root["definitions"]}
    )

    assert list(validator.iter_errors(json.loads(json.dumps(message)))) == []
    assert client_requests.complaints(message, schema) == []


def test_every_verb_has_a_sample() -> None:
    verbs_there_are = {
        one
        for one in vars(verbs).values()
        if isinstance(one, type) and isinstance(getattr(one, "method", None), str)
    }

    assert verbs_there_are == {type(verb) for verb in SENT} - {verbs.Survey}
    assert all(survey in SENT for survey in verbs.Survey)


def test_every_field_of_every_verb_is_in_a_sample() -> None:
    given: dict[type, set[str]] = {}
    for verb in SENT:
        told = {name for name in getattr(verb, "__slots__", ()) if getattr(verb, name) is not None}
        given.setdefault(type(verb), set()).update(told)

    for kind, told in given.items():
        assert set(getattr(kind, "__slots__", ())) <= told, kind


def test_every_notification_of_codex_can_be_read(notifications: Schema) -> None:
    for method in notifications.methods():
        for sample in notifications.samples(notifications.params_of(method)):
            events.read_event(method, sample)


def test_the_notifications_that_we_do_not_want_exist(notifications: Schema) -> None:
    assert set(verbs.UNWANTED) <= set(notifications.methods())
    assert not set(verbs.UNWANTED) & set(events.EVENT_READERS)


def test_all_server_requests_are_handled(server_requests: Schema) -> None:
    handled = {*questions.QUESTION_READERS, *questions.REFUSED_METHODS}

    assert handled == set(server_requests.methods())
    assert len(handled) == 11
    assert set(samples.ANSWER_FILES) == set(questions.QUESTION_READERS)


@pytest.mark.parametrize("method", questions.QUESTION_READERS)
def test_codex_understands_every_answer_that_we_can_give(
    method: str, server_requests: Schema, schemas: Path
) -> None:
    schema = Schema(schemas / f"{samples.ANSWER_FILES[method]}.json")
    given = 0
    for sample in server_requests.samples(server_requests.params_of(method)):
        request = questions.read_server_request(7, method, sample)
        assert not isinstance(request, questions.NotOurs)
        assert questions.method_of(request) == method
        for answer in samples.every_answer(request):
            assert schema.complaints(answer) == []
            given += 1

    assert given >= 30


# The check has teeth


def test_a_field_that_codex_would_ignore_is_found(client_requests: Schema) -> None:
    """`thread/start` has no `sandboxPolicy`."""
    message = {"id": 1, "method": "thread/start", "params": {"sandboxPolicy": {}, "cwd": "/"}}

    (complaint,) = client_requests.complaints(message, client_requests.methods()["thread/start"])
    assert str(complaint) == "unknown field .params.sandboxPolicy"
    assert complaint.is_ignored


def test_the_spy_finds_a_field_that_does_not_exist(notifications: Schema) -> None:
    sample = next(notifications.samples(notifications.params_of("turn/started")))
    turn = sample.get("turn")
    assert isinstance(turn, Spy)
    turn.get("invented")

    assert sample.inventions() == {"invented"}


Json = dict[str, Any]


@pytest.fixture
def doctored(schemas: Path, tmp_path: Path) -> Callable[[str, Callable[[Json], object]], Fit]:
    """How Codex would fit if one of its schema files were changed."""

    def doctored(name: str, change: Callable[[Json], object]) -> Fit:
        folder = tmp_path / "schema"
        shutil.copytree(schemas, folder)
        file = folder / f"{name}.json"
        root = json.loads(file.read_text())
        change(root)
        file.write_text(json.dumps(root))
        return compared(folder)

    return doctored


Doctored = Callable[[str, Callable[[Json], object]], Fit]


def without(root: Json, method: str) -> None:
    root["oneOf"] = [
        one for one in root["oneOf"] if one["properties"]["method"]["enum"] != [method]
    ]


def test_a_field_that_got_another_name_refuses_the_version(doctored: Doctored) -> None:
    def rename(root: Json) -> None:
        fields = root["definitions"]["ThreadStartParams"]["properties"]
        fields["sandboxMode"] = fields.pop("sandbox")

    assert doctored("ClientRequest", rename).refused == ("thread/start: unknown field sandbox",)


def test_a_new_field_that_must_be_sent_refuses_the_version(doctored: Doctored) -> None:
    def demand(root: Json) -> None:
        root["definitions"]["TurnStartParams"]["required"].append("purpose")

    assert doctored("ClientRequest", demand).refused == ("turn/start: purpose is required",)


def test_a_value_that_is_not_taken_any_more_refuses_the_version(doctored: Doctored) -> None:
    def forget(root: Json) -> None:
        root["definitions"]["SandboxMode"]["enum"].remove("read-only")

    (point, *_) = doctored("ClientRequest", forget).refused
    assert point.startswith("thread/start: ")
    assert '"read-only" is none of' in point


def test_a_call_that_every_task_needs_and_is_gone_refuses_the_version(doctored: Doctored) -> None:
    fit = doctored("ClientRequest", lambda root: without(root, "turn/interrupt"))

    assert fit == Fit(("no turn/interrupt",), ())


def test_a_call_that_only_looks_and_is_gone_is_named(doctored: Doctored) -> None:
    fit = doctored("ClientRequest", lambda root: without(root, "project/list"))

    assert fit == Fit((), ("no project/list",))


def test_a_notification_that_is_gone_is_named(doctored: Doctored) -> None:
    fit = doctored("ServerNotification", lambda root: without(root, "turn/diff/updated"))

    assert fit == Fit((), ("no notification turn/diff/updated",))


def test_a_turn_that_ends_without_a_word_refuses_the_version(doctored: Doctored) -> None:
    fit = doctored("ServerNotification", lambda root: without(root, "turn/completed"))

    assert "no notification turn/completed" in fit.refused


def test_an_approval_that_shows_less_refuses_the_version(doctored: Doctored) -> None:
    def hide(root: Json) -> None:
        approval = root["definitions"]["CommandExecutionRequestApprovalParams"]
        del approval["properties"]["command"]

    fit = doctored("ServerRequest", hide)
    assert fit.refused == ("item/commandExecution/requestApproval: no command",)


def test_an_answer_to_an_approval_that_means_nothing_any_more_refuses_the_version(
    doctored: Doctored,
) -> None:
    def forget(root: Json) -> None:
        variants = root["definitions"]["FileChangeApprovalDecision"]["oneOf"]
        variants[:] = [one for one in variants if one["enum"] != ["decline"]]

    fit = doctored("FileChangeRequestApprovalResponse", forget)
    (point,) = fit.refused
    assert point.startswith("item/fileChange/requestApproval: does not take our answer")


def test_a_new_question_is_named(doctored: Doctored) -> None:
    def ask(root: Json) -> None:
        root["oneOf"].append({"properties": {"method": {"enum": ["item/mood/read"]}}})

    (point,) = doctored("ServerRequest", ask).degraded
    assert point.startswith("item/mood/read is new")


def test_a_message_that_lost_our_id_refuses_the_version(doctored: Doctored) -> None:
    """It is the evidence that a turn is ours."""

    def forget(root: Json) -> None:
        for item in root["definitions"]["ThreadItem"]["oneOf"]:
            item["properties"].pop("clientId", None)

    assert doctored("ServerNotification", forget).refused == ("clientId is not told",)


def test_a_schema_in_an_unknown_form_refuses_the_version(doctored: Doctored) -> None:
    (point,) = doctored("ClientRequest", lambda root: root.pop("oneOf")).refused

    assert point.startswith("its schema cannot be read here")
