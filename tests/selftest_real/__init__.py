"""The self-test on the real Codex."""
