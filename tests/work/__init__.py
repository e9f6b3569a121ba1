"""Tests of the workshop, over a fake Codex on virtual time and over the real one."""
