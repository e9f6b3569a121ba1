"""Goals: what Codex pursues by itself, turn after turn, until it is met or its tokens are used.

A goal is set once the turn that begins with it was accepted: earlier Codex would start one unasked.
From then on each turn may be followed by another that nobody asked for; they are all the
operation's, which ends when Codex does not go on any more. What is to become of the goal then is
done before that is on record, and may be done again after a crash: it looks at the goal first.
"""

from typing import Final

from codex_control_plane_mcp.codex.errors import Refused, ThreadNotFound
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words import things
from codex_control_plane_mcp.codex.words.verbs import SetGoal
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import GoalProgress
from codex_control_plane_mcp.model.request import ExecutePlan, Goal, GoalCompletion
from codex_control_plane_mcp.work.case import Case

SETTING: Final = "setting"
REFUSED: Final = "refused"


class Pursuit:
    """What is done for the goal of one operation; nothing where it has none.

    Methods raise CodexError when Codex could not be asked; they may be called again.
    """

    def __init__(self, case: Case, session: CodexSession) -> None:
        self._case = case
        self._session = session
        request = case.operation.request
        self._goal = request.goal if isinstance(request, ExecutePlan) else None

    async def begin(self) -> None:
        """Set the goal, while its first turn runs: once."""
        goal, known = self._goal, self._case.operation.goal
        if goal is None or (known is not None and known.status != SETTING):
            return
        try:
            present = await self._present()
            if present is not None and known is not None and present.objective == goal.objective:
                pass  # Codex has it; its answer was lost.
            elif present is not None and present.status in _SOMEBODYS:
                await self._go_without("the thread has another goal already")
                return
            else:
                if known is None:
                    wish = GoalProgress(goal.objective, SETTING, goal.token_budget)
                    await self._case.record(goal=wish)
                present = await self._set(goal)
        except Refused as error:
            await self._go_without(str(error))
            return
        await self._note(present, f"Goal set, for {goal.token_budget} tokens: {goal.objective}")

    @property
    def is_set(self) -> bool:
        """Whether Codex may have the goal."""
        known = self._case.operation.goal
        return known is not None and known.status != REFUSED

    async def is_active(self) -> bool:
        """Whether Codex pursues it; asked when a turn has completed."""
        ours = await self._ours()
        if ours is None:
            return False
        await self._case.record(goal=_progress(ours))
        return ours.status == "active"

    async def settle(self, *, completed: bool) -> None:
        """Do with the goal what is to be done at the end. An operation that did not complete leaves
        none behind that Codex would go on with."""
        ours = await self._ours()
        if ours is None or self._goal is None:
            return
        thread_id = self._thread_id
        match self._goal.completion_action:
            case GoalCompletion.CLEAR:
                await self._session.clear_goal(thread_id)
                await self._note(ours, f"Goal cleared; it was {ours.status}.")
            case GoalCompletion.SET_COMPLETE if completed and ours.status in _MAY_BE_COMPLETE:
                done = SetGoal(thread_id, self._goal.completion_objective, status="complete")
                await self._note(await self._session.set_goal(done), "Goal set complete.")
            case GoalCompletion.LEAVE if completed:
                pass
            case _ if ours.status == "active":
                paused = await self._session.set_goal(SetGoal(thread_id, status="paused"))
                await self._note(paused, "Goal paused: the turn did not complete.")
            case _:
                pass

    async def _ours(self) -> things.Goal | None:
        """The goal as Codex has it, if it is the one that was set here."""
        known = self._case.operation.goal
        if known is None or not self.is_set:
            return None
        present = await self._present()
        return present if present and present.objective == known.objective else None

    async def _present(self) -> things.Goal | None:
        try:
            return await self._session.get_goal(self._thread_id)
        except ThreadNotFound:
            return None

    async def _set(self, goal: Goal) -> things.Goal:
        verb = SetGoal(self._thread_id, goal.objective, goal.token_budget, "active")
        return await self._session.set_goal(verb)

    async def _go_without(self, why: str) -> None:
        assert self._goal is not None  # noqa: S101  # there is one to go without
        refused = GoalProgress(self._goal.objective, REFUSED, self._goal.token_budget)
        said = Entry(Category.NOTICE, f"Codex goes on without the goal: {why}")
        await self._case.record(goal=refused, entries=[said])

    async def _note(self, goal: things.Goal, said: str) -> None:
        await self._case.record(goal=_progress(goal), entries=[Entry(Category.NOTICE, said)])

    @property
    def _thread_id(self) -> ThreadId:
        thread_id = self._case.operation.thread_id
        assert thread_id is not None  # noqa: S101  # the table: a turn is in a thread
        return thread_id


#: Whoever set it is not done with it.
_SOMEBODYS = frozenset({"active", "paused"})
#: One that ran out of tokens, or is blocked, was not reached.
_MAY_BE_COMPLETE = frozenset({"active", "complete"})


def _progress(goal: things.Goal) -> GoalProgress:
    return GoalProgress(goal.objective, goal.status, goal.token_budget, goal.tokens_used)
