"""Every life that an operation may have, as far as the transition table goes."""

from hypothesis import strategies as st

from codex_control_plane_mcp.model.operation import TRANSITIONS, Done, Fact, TurnAccepted, apply
from tests.model.lives import FACTS, NOON, queued


@st.composite
def lives(draw: st.DrawFn, longest: int = 25) -> tuple[Fact, ...]:
    """A life that the transition table allows, however odd. A turn is asked for before Codex has
    it, and what has a turn is not done without one: that is the workshop's to see to, and the
    database insists on it."""
    operation, facts = queued(), list[Fact]()
    for _ in range(draw(st.integers(0, longest))):
        possible = [
            fact
            for fact in FACTS
            if operation.status in TRANSITIONS[type(fact)][0]
            and not isinstance(fact, Done)
            and (operation.intent is not None or not isinstance(fact, TurnAccepted))
        ]
        if not possible:
            break
        facts.append(draw(st.sampled_from(possible)))
        operation = apply(operation, facts[-1], NOON)
    return tuple(facts)
