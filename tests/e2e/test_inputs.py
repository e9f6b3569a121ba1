"""Structured reports, pictures and worktrees over MCP stdio on real Codex."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.e2e.stage import SOON_SECONDS, Client, Stage, ToolError, gone
from tests.pictures import GIF, PNG, WEBP
from tests.repositories import git, make_repository

pytestmark = [pytest.mark.real, pytest.mark.anyio]

SCHEMA = {
    "type": "object",
    "properties": {
        "sold": {"type": "integer"},
        "to": {"type": ["string", "null"]},
    },
    "required": ["sold", "to"],
    "additionalProperties": False,
}


async def test_a_report_comes_as_an_object_of_the_schema_also_when_the_worker_was_killed(
    stage: Stage,
) -> None:
    task: dict[str, Any] = {
        "cwd": str(stage.project),
        "output_schema": SCHEMA,
        "client_request_id": "sale-1",
    }
    prompt = 'Count the sales.\nhold door\nsay {"sold": 3, "to": null}'
    async with stage.client() as client:
        receipt = await client.submit(prompt, **task)
        assert receipt["outputSchemaState"] == {
            "provided": True,
            "applied": False,
            "structuredStatus": None,
        }
        with anyio.fail_after(SOON_SECONDS):
            await stage.model.arrived("door")
        worker = stage.worker()
        stage.kill(worker)
        await gone(worker)

        again = await client.submit(prompt, **task)
        assert again["idempotent"] is True
        assert again["operationId"] == receipt["operationId"]
        stage.model.release("door")
        done = await client.finished(receipt["operationId"])

    report = done["finalReport"]
    assert report["text"] == '{"sold": 3, "to": null}'
    assert report["structured"] == {"sold": 3, "to": None}
    assert report["structuredStatus"] == "valid"
    assert done["outputSchemaState"]["applied"] is True
    assert done["outputSchemaState"]["structuredStatus"] == "valid"
    [asked] = stage.model.requests
    assert asked.output_schema == SCHEMA


async def test_an_answer_that_is_not_of_the_schema_is_told_from_one_that_is_no_json(
    stage: Stage, client: Client
) -> None:
    for said, status in (
        ('{"sold": "three", "to": null}', "invalid"),
        ("Three were sold.", "not_json"),
    ):
        receipt = await client.submit(f"say {said}", cwd=str(stage.project), output_schema=SCHEMA)
        done = await client.finished(receipt["operationId"])
        assert done["status"] == "completed"
        assert done["finalReport"]["structured"] is None
        assert done["finalReport"]["structuredStatus"] == status
        assert done["finalReport"]["text"] == said

    plain = await client.submit('say {"sold": 3, "to": null}', cwd=str(stage.project))
    done = await client.finished(plain["operationId"])
    assert done["finalReport"]["structuredStatus"] is None
    assert "outputSchemaState" not in done


async def test_pictures_reach_the_model_with_the_words_and_in_later_messages(
    stage: Stage, client: Client
) -> None:
    for name, content in (("till.png", PNG), ("till.gif", GIF), ("till.webp", WEBP)):
        (stage.project / name).write_bytes(content)
    receipt = await client.submit(
        "What do you see?",
        cwd=str(stage.project),
        input_items=[
            {"type": "local_image", "path": str(stage.project / "till.png"), "detail": "low"},
            {"type": "localImage", "path": "till.webp"},
            {"type": "text", "text": "say A till."},
        ],
    )
    assert receipt["inputItemState"] == {"count": 2, "localImageCount": 2, "imageUrlCount": 0}
    done = await client.finished(receipt["operationId"])
    assert done["finalReport"]["text"] == "A till."
    assert stage.model.requests[0].images == ("image/png", "image/webp")

    receipt = await client.submit(
        "say It moved.",
        operation_type="send_message",
        thread_id=done["threadId"],
        input_items=[{"type": "local_image", "path": "till.gif"}],
    )
    await client.finished(receipt["operationId"])
    # Codex sends what moves as a still.
    assert stage.model.requests[1].images == ("image/png",)

    receipt = await client.submit("hold door\nsay unsteered", cwd=str(stage.project))
    running = await client.until(receipt["operationId"], "running")
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    steer = await client.submit(
        "say steered",
        operation_type="steer_turn",
        thread_id=running["threadId"],
        expected_turn_id=running["turnId"],
        input_items=[{"type": "local_image", "path": "till.webp"}],
    )
    steered = await client.finished(steer["operationId"])
    assert steered["steerState"] == {
        "accepted": True,
        "targetThreadId": running["threadId"],
        "targetTurnId": running["turnId"],
    }
    stage.model.release("door")
    await client.finished(receipt["operationId"])
    assert stage.model.requests[-1].images == ("image/webp",)


async def test_a_picture_that_is_gone_when_its_turn_comes_fails_the_task_before_the_model_is_asked(
    stage: Stage, client: Client
) -> None:
    picture = stage.project / "till.png"
    picture.write_bytes(PNG)
    first = await client.submit("hold door\nsay first", cwd=str(stage.project))
    running = await client.until(first["operationId"], "running")
    second = await client.submit(
        "say second",
        operation_type="send_message",
        thread_id=running["threadId"],
        input_items=[{"type": "local_image", "path": str(picture)}],
    )
    picture.unlink()
    stage.model.release("door")

    failed = await client.finished(second["operationId"])
    assert failed["status"] == "failed"
    assert failed["lastError"]["code"] == "CODEX_SEND_FAILED"
    assert str(picture) in failed["lastError"]["message"]
    assert len(stage.model.requests) == 1


async def test_what_codex_says_of_a_picture_by_its_address_is_what_the_caller_reads(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit(
        "say I see it.",
        cwd=str(stage.project),
        input_items=[{"type": "image", "url": "https://example.com/till.png"}],
    )
    ended = await client.finished(receipt["operationId"])
    # This Codex takes none; one that does would show it to the model.
    assert ended["status"] == "failed"
    assert ended["lastError"]["code"] == "CODEX_SEND_FAILED"
    assert "remote image URLs are not supported" in ended["lastError"]["message"]


async def test_bad_inputs_are_refused_by_name_with_nothing_stored_or_sent(
    stage: Stage, client: Client
) -> None:
    outside = stage.root / "secret.png"
    outside.write_bytes(PNG)
    (stage.project / "notes.txt").write_bytes(PNG)
    with (stage.project / "large.png").open("wb") as large:
        large.write(PNG)
        large.truncate(20_000_001)
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}

    def picture(**item: object) -> dict[str, object]:
        return {"input_items": [item]}

    def schema(part: object) -> dict[str, object]:
        return {"output_schema": SCHEMA | {"properties": {"sold": part, "to": part}}}

    cases: list[tuple[dict[str, object], str]] = [
        (picture(type="local_image", path=str(outside)), "outside the allowed folders"),
        (picture(type="local_image", path="../../secret.png"), "outside the allowed folders"),
        (picture(type="local_image", path="notes.txt"), ".png"),
        (picture(type="local_image", path="large.png"), "20000001 bytes"),
        (picture(type="local_image", path="gone.png"), "gone.png"),
        (picture(type="local_image", path=""), "path"),
        (picture(type="local_image", path="a\0b.png"), "input_items"),
        (picture(type="local_image", url="https://example.com/a.png"), "path"),
        (picture(type="image", url="file:///etc/passwd"), "https"),
        (picture(type="image", url="data:image/png;base64,AAAA"), "https"),
        (picture(type="image", url="http://example.com/a.png"), "https"),
        (picture(type="image", url="https://example.com/a.png", detail="all"), "detail"),
        (picture(type="image", url="https://example.com/a.png", title="x"), "title"),
        (picture(type="video", url="https://example.com/a.mp4"), "local_image"),
        (picture(type="text", text=5), "text"),
        (picture(type="text", text="x" * 200_000), "message"),
        (picture(), "input_items"),
        ({"input_items": "till.png"}, "input_items"),
        ({"input_items": ["till.png"]}, "input_items"),
        ({"output_schema": {}}, "output_schema"),
        ({"output_schema": "object"}, "output_schema"),
        ({"output_schema": {"type": "array", "items": {"type": "string"}}}, "object"),
        ({"output_schema": {"type": "object"}}, "additionalProperties"),
        ({"output_schema": SCHEMA | {"required": ["sold"]}}, "required"),
        ({"output_schema": SCHEMA, "collaboration_mode": "plan"}, "plan"),
        (schema({"type": "strnig"}), "output_schema.properties."),
        (schema({"$ref": "https://example.com/schema"}), "$defs"),
        (schema({"enum": ["x" * 70_000]}), "smaller"),
        (schema(deep), "deep"),
        ({"worktree": "yes"}, "worktree"),
        ({"worktree": True}, "git repository"),
        ({"worktree": True, "operation_type": "send_message", "thread_id": "t"}, "start_chat"),
    ]
    for arguments, said in cases:
        with pytest.raises(ToolError) as refused:
            await client.submit("say no", **({"cwd": str(stage.project)} | arguments))
        assert refused.value.code == "INVALID_ARGUMENT", arguments
        assert said in refused.value.message, (arguments, refused.value.message)
        assert refused.value.retryable is False
    health = await client.call("codex_health_summary")
    assert health["activeWork"]["pendingRequests"] == 0
    assert health["appServer"]["status"] == "not_started"
    assert stage.model.requests == ()


async def test_a_chat_in_a_worktree_leaves_the_checkout_untouched_and_goes_on_there(
    stage: Stage,
) -> None:
    make_repository(stage.project)
    (stage.project / "src" / "till.txt").write_text("not committed\n")
    before = git(stage.project, "status", "--porcelain")
    prompt = "hold door\nrun printf two > till.txt; pwd\nsay Changed."
    task = {
        "cwd": str(stage.project / "src"),
        "worktree": True,
        "sandbox": "workspace-write",
        "approval_policy": "never",
        "client_request_id": "change-1",
    }
    async with stage.client() as client:
        receipt = await client.submit(prompt, **task)
        assert receipt["worktree"]["state"] == "pending"
        with anyio.fail_after(SOON_SECONDS):
            await stage.model.arrived("door")
        worker = stage.worker()
        stage.kill(worker)
        await gone(worker)
        again = await client.submit(prompt, **task)
        assert again["operationId"] == receipt["operationId"]
        stage.model.release("door")
        done = await client.finished(receipt["operationId"])

        made = done["worktree"]
        assert made["state"] == "kept"
        assert made["baseCommit"] == git(stage.project, "rev-parse", "HEAD")
        assert done["cwd"] == f"{made['path']}/src"
        assert (Path(done["cwd"]) / "till.txt").read_text() == "two"
        assert any(done["cwd"] in output for output in stage.model.requests[-1].tool_outputs)

        more = await client.submit(
            "run printf three > till.txt\nsay Changed again.",
            operation_type="send_message",
            thread_id=done["threadId"],
            sandbox="workspace-write",
            approval_policy="never",
        )
        assert more["cwd"] == done["cwd"]
        await client.finished(more["operationId"])

    assert (Path(done["cwd"]) / "till.txt").read_text() == "three"
    assert (stage.project / "src" / "till.txt").read_text() == "not committed\n"
    assert git(stage.project, "status", "--porcelain") == before
    assert git(stage.project, "branch", "--show-current") == "main"
    assert made["branch"] in git(stage.project, "branch", "--list", "codex/*")
    assert git(stage.project, "worktree", "list").count("\n") == 1
