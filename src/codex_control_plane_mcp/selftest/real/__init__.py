"""The same promises on the real thing: processes are killed while the real Codex works.

Pipe, worker and app-server are real processes, only the model is scripted. They are killed (kill
-9) at seeded random moments, and what clients were told, the book, Codex's own threads and what
reached the model are held against each other. A seed repeats the tasks and the kills, not the
machine's timing.
"""

from codex_control_plane_mcp.selftest.real.story import RealResult, run

__all__ = ["RealResult", "run"]
