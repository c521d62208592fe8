"""Decisions about runs: pure functions of a plan, a state, a command and the time.

Nothing here knows a clock, an id, a random number, a log, a library or ``async``; all of that comes in as an argument.
"""
