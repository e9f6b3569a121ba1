"""The recipes on their real engines and real Codex: a step that is done again makes no second turn.

The short programs are judged by what they bring about, not by their exit code: Temporal's SDK now
and then crashes in Python's own end, after all was done.

The engines are large, so `make test-engines` installs them and runs this.
"""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.e2e.stage import Stage
from tests.engines.engines import Dbos, Engine, Prefect, Temporal
from tests.engines.programs import PATIENCE_SECONDS, Programs

pytestmark = [pytest.mark.anyio, pytest.mark.engines, pytest.mark.real]


@pytest.fixture(params=[Dbos, Temporal, Prefect], ids=lambda engine: engine.__name__)
async def engine(request: pytest.FixtureRequest, programs: Programs) -> Engine:
    make: Callable[[Programs], Engine] = request.param
    engine = make(programs)
    await engine.start()
    return engine


async def test_a_step_that_is_killed_and_done_again_makes_one_turn(
    stage: Stage, programs: Programs, engine: Engine
) -> None:
    """Killed after its submission and before it heard of it, and once more in the turn."""
    line = (engine.recipe, "run", "first", "Work.\nhold gate\nsay Done.")
    programs.cut()
    programs.python(*line)
    await engine.again("first")
    with anyio.fail_after(PATIENCE_SECONDS):
        await stage.model.arrived("gate")
    engine.kill()
    await engine.again("first")
    stage.model.release("gate")
    run = programs.python(*line)
    await run.ended()
    assert "Done." in run.said
    (asked,) = stage.model.requests
    assert asked.thread_id is not None
    assert [turn.status for turn in await stage.turns(asked.thread_id)] == ["completed"]


async def test_people_are_asked_through_the_engine_and_may_cancel(
    stage: Stage, programs: Programs, engine: Engine
) -> None:
    asking = programs.python(engine.recipe, "run", "asks", "Ask.\nrun! echo hi # why\nsay Asked.")
    with anyio.fail_after(PATIENCE_SECONDS):
        questions = await _asked(programs, engine, "asks")
    assert "echo hi" in questions[0]["command"]
    answer = ("answer", "asks", questions[0]["interactionId"], "accept")
    await programs.python(engine.recipe, *answer).ended()
    await asking.ended()
    assert "Asked." in asking.said

    programs.python(engine.recipe, "run", "hangs", "Hang.\nhang")
    with anyio.fail_after(PATIENCE_SECONDS):
        await stage.model.arrived("hang")
    await programs.python(engine.recipe, "cancel", "hangs").ended()
    with anyio.fail_after(PATIENCE_SECONDS):
        await stage.model.idle()
    hanging = stage.model.requests[-1].thread_id
    assert hanging is not None
    with anyio.fail_after(PATIENCE_SECONDS):
        while (turns := await stage.turns(hanging))[0].status == "inProgress":  # noqa: ASYNC110  # Codex is asked
            await anyio.sleep(0.05)
    assert [turn.status for turn in turns] == ["interrupted"]


async def _asked(programs: Programs, engine: Engine, run: str) -> list[Any]:
    """What people are asked, once the engine knows of the run and it asks something."""
    while True:
        looking = programs.python(engine.recipe, "questions", run)
        if await looking.ended() == 0 and (found := json.loads(looking.said.splitlines()[0])):
            return list(found)
