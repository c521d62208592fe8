"""The conformance kit: is this worker one? Scenarios are played on it from outside, as on a black box.

A worker under test is a command. It registers the actions of `contract`, writes down what its handlers do, and is
started, frozen and killed by the kit beside a real orchestrator. Nothing here knows a language or an SDK.
"""
