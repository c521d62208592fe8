"""Requests leave nothing behind that only the garbage collector finds: its pauses would be everybody's."""

from __future__ import annotations

import gc

from tests.api.driver import Api

CALLS = 50


def test_requests_make_no_reference_cycles(api: Api) -> None:
    api.post("/workflow/", {"id": "flow", "steps": [{"action": "calm"}]})
    api.post("/workers", {"workerId": "w", "actions": ["calm"]})

    def calls() -> None:
        for _ in range(CALLS):
            api.post("/workflow/flow/trigger", {"input": 1})
            (job,) = api.post("/workers/w/exchange", {"capacity": 1}).json()["jobs"]
            result = {"jobId": job["jobId"], "attempt": job["attempt"], "result": 2}
            api.post("/workers/w/exchange", {"results": [result]})

    calls()
    gc.collect()
    gc.disable()
    try:
        calls()
        assert gc.collect() < CALLS
    finally:
        gc.enable()
