"""Measures the product on the real Codex with the scripted model: `python -m benchmarks`."""
