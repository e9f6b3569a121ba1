"""The proof that ships with the product: the real workshop, desk and book, in a simulated world.

Time is virtual, Codex is a fake that speaks the real wire, and the worker is killed at every
commit and every send. Nothing here runs in normal operation.
"""
