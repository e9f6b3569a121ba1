"""`demo`: one task there and back, on real Codex, as any MCP client would do it.

command   the options, the exit code, Ctrl-C
stage     the folders, the environment, the scripted model; and the clearing up
story     what is done, act by act
screen    how it looks
"""
