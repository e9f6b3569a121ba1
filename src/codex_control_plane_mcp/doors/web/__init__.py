"""The door for people with a browser: pages over the desk, on this machine only.

Like the other doors it decides nothing: it shows the desk's views and calls its methods. `door` is
all that the worker imports; the rest is imported when somebody comes.
"""
