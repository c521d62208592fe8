"""Replicas come and go under load: a request is repeated once at most, and no run is lost."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from tests.broker.replica import Client, Replica, patiently, worker
from tests.broker.site import Site

pytestmark = pytest.mark.timeout(400)

GRACE_SECONDS = "2"


def test_three_replicas_are_restarted_one_by_one_under_load_without_a_failed_request(site: Site) -> None:
    with ExitStack() as stack:
        replicas = [stack.enter_context(Replica(site, ORCHESTRATOR_GRACE_SECONDS=GRACE_SECONDS)) for _ in range(3)]
        replicas[0].define("flow", "one", "two")
        stack.enter_context(worker(site))
        ending = threading.Event()
        clients = [Client(replicas[number:] + replicas[:number]) for number in range(3)]
        runs: list[str] = []

        def load(client: Client, wait: float) -> None:
            while not ending.wait(0.03):
                run_id = client.trigger(wait)
                if run_id is not None:
                    runs.append(run_id)

        # One of them waits for its runs to end, which a replica that goes must answer.
        threads = [
            threading.Thread(target=load, args=(client, wait)) for client, wait in zip(clients, (0, 0, 20), strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            for replica in replicas:
                begun = len(runs)
                patiently(lambda begun=begun: len(runs) > begun + 20)  # type: ignore[misc]
                replica.ask_to_stop()
                # It says so first, and still serves whoever has not heard.
                patiently(lambda replica=replica: replica.readiness() != 200)  # type: ignore[misc]
                replica.finish()
                replica.start()
        finally:
            ending.set()
            for thread in threads:
                thread.join()
        assert [failure for client in clients for failure in client.failed] == []
        for run_id in runs:
            patiently(lambda run_id=run_id: replicas[0].show(run_id)["status"] == "COMPLETED")  # type: ignore[misc]
        assert len(set(runs)) == len(runs) > 60


def test_a_replica_that_takes_leave_serves_until_its_grace_is_over_and_closes_connections(site: Site) -> None:
    with Replica(site, ORCHESTRATOR_GRACE_SECONDS="600") as replica:
        replica.define("flow", "one")
        kept = replica.connect(60)
        kept.request("GET", "/health/live")
        first = kept.getresponse()
        assert (first.read() != b"", first.getheader("Connection")) == (True, None)
        replica.ask_to_stop()
        patiently(lambda: replica.readiness() == 503)
        assert "asked to go" in replica.call("GET", "/health/ready").json()["detail"]
        kept.request("POST", "/workflow/flow/trigger", b"{}")
        answer = kept.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (201, "close")
        answer.read()
        kept.close()
        assert replica.call("GET", "/health/live").status == 200
        # Asked again, it goes at once.
        replica.ask_to_stop()
        replica.finish()


def test_a_frozen_replica_holds_nobody_up(site: Site) -> None:
    """Its connections stay open: its duties and its partitions go to the other, and nothing it does later counts."""
    with Replica(site) as first, Replica(site) as second, worker(site):
        first.define("flow", "one", "two", timeout="1h", retry={"delay": "0.1s"})
        first.freeze()
        runs = [second.trigger() for _ in range(20)]
        for run_id in runs:
            patiently(lambda run_id=run_id: second.show(run_id)["status"] == "COMPLETED")  # type: ignore[misc]
        first.thaw()
        patiently(lambda: first.readiness() == 200)
        assert first.show(first.trigger(), wait=30)["status"] == "COMPLETED"
