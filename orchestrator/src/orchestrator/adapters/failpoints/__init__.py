"""Faults on demand, for tests: places where a process can be told to die, to fail, to wait, or to be left in doubt.

Nothing of this is there unless ``ORCHESTRATOR_FAILPOINTS`` is set: `bootstrap` then puts these wrappers around ports.
"""
