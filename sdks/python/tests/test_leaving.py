"""How a worker goes: on a word, on a signal, at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.running import eventually, running
from workersdk import Context, Worker, WorkflowError


async def test_jobs_in_hand_are_finished_and_no_others_are_taken() -> None:
    finish = asyncio.Event()
    worker = Worker(concurrency=2)

    @worker.register("act")
    async def act(payload: Any) -> Any:
        await finish.wait()
        return payload

    async with Gateway() as gateway, running(worker, gateway) as task:
        job = await gateway.give("act", "finished")
        await gateway.until(lambda: gateway.in_hand and gateway.waiting)
        worker.stop()
        worker.stop()
        late = await gateway.give("act", "late")
        assert (await gateway.result_of(late))["status"] == "released"
        finish.set()
        await asyncio.wait_for(task, 5)
        assert (await gateway.result_of(job))["result"] == "finished"
    assert gateway.left == [worker.worker_id]
    assert gateway.in_hand == {}


async def test_an_idle_worker_leaves_at_once() -> None:
    worker = Worker()
    worker.register("act", str)
    async with Gateway() as gateway, running(worker, gateway) as task:
        await gateway.until(lambda: gateway.waiting)
        worker.stop()
        await asyncio.wait_for(task, 1)
        assert gateway.left == [worker.worker_id]


async def test_the_orchestrator_may_ask_a_worker_to_go() -> None:
    worker = Worker()
    worker.register("act", str)
    async with Gateway() as gateway, running(worker, gateway) as task:
        await gateway.until(lambda: gateway.waiting)
        gateway.drain = True
        await gateway.wake()
        await asyncio.wait_for(task, 5)
        assert gateway.left == [worker.worker_id]


async def test_the_orchestrator_may_ask_a_busy_worker_to_go() -> None:
    """Its only place is taken: the word comes with a heartbeat."""
    worker = Worker(concurrency=1)
    finish = asyncio.Event()

    @worker.register("act")
    async def act(payload: Any) -> Any:
        await finish.wait()

    async with Gateway(heartbeat=0.02) as gateway, running(worker, gateway) as task:
        job = await gateway.give("act")
        await gateway.until(lambda: gateway.heartbeats)
        gateway.drain = True
        heard = len(gateway.heartbeats)
        await gateway.until(lambda: len(gateway.heartbeats) > heard + 1)
        finish.set()
        await asyncio.wait_for(task, 5)
        assert "status" not in await gateway.result_of(job)


async def test_what_does_not_finish_in_time_is_given_back() -> None:
    seen: list[bool] = []
    worker = Worker(drain_timeout=0.05)
    stuck = asyncio.Event()
    sync_context: list[Context] = []

    @worker.register("async")
    async def later(payload: Any, context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(context.cancelled)

    @worker.register("sync")
    def sync(payload: Any, context: Context) -> None:
        sync_context.append(context)
        loop.call_soon_threadsafe(stuck.set)
        asyncio.run(wait_for_the_end(context))

    async def wait_for_the_end(context: Context) -> None:
        await eventually(lambda: context.cancelled)

    loop = asyncio.get_running_loop()
    async with Gateway() as gateway, running(worker, gateway) as task:
        jobs = [await gateway.give("async"), await gateway.give("sync")]
        await stuck.wait()
        await gateway.until(lambda: len(gateway.in_hand) == 2)
        worker.stop()
        await asyncio.wait_for(task, 5)
        assert [(await gateway.result_of(job))["status"] for job in jobs] == ["released", "released"]
    assert seen == [True]
    assert sync_context[0].cancelled
    assert gateway.left == [worker.worker_id]


async def test_a_cancelled_worker_gives_everything_back() -> None:
    worker = Worker()

    @worker.register("act")
    async def act(payload: Any) -> None:
        await asyncio.Event().wait()

    async with Gateway() as gateway:
        task = asyncio.create_task(worker.run(gateway.url))
        job = await gateway.give("act")
        await gateway.until(lambda: gateway.in_hand and gateway.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert (await gateway.result_of(job))["status"] == "released"
        assert gateway.left == [worker.worker_id]


async def test_a_worker_can_run_again_but_not_twice_at_once() -> None:
    worker = Worker()
    worker.register("act", str)
    async with Gateway() as gateway:
        for count in (1, 2):
            async with running(worker, gateway):
                await gateway.result_of(await gateway.give("act", count))
                with pytest.raises(WorkflowError, match="running already"):
                    await worker.run(gateway.url)
                with pytest.raises(WorkflowError, match="before the worker is started"):
                    worker.register("other", str)
        assert len(gateway.left) == 2


async def test_start_says_how_to_run_inside_a_loop() -> None:
    worker = Worker()
    worker.register("act", str)
    with pytest.raises(WorkflowError, match=r"await worker\.run\(url\)"):
        worker.start("http://127.0.0.1:1")


PROGRAM = textwrap.dedent(
    """
    import asyncio, sys, threading
    if sys.argv[2] == "asyncio":
        sys.modules["uvloop"] = None
    from workersdk import Worker

    worker = Worker(concurrency=2, worker_id="w-child", drain_timeout=float(sys.argv[1]))

    @worker.register("wait")
    def wait(payload):
        sys.stdin.readline()
        return "finished"

    @worker.register("stuck")
    def stuck(payload):
        threading.Event().wait()

    @worker.register("loop")
    async def loop(payload):
        return type(asyncio.get_running_loop()).__module__

    worker.start()
    print("returned")
    """
)


async def child(gateway: Gateway, loop: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W", "error", "-c", PROGRAM, "30", loop,
        env={**os.environ, "WORKFLOW_URL": gateway.url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await gateway.until(lambda: gateway.waiting)
    return process


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
async def test_start_runs_on_uvloop_where_it_is_installed(loop: str) -> None:
    async with Gateway() as gateway:
        process = await child(gateway, loop)
        result = await gateway.result_of(await gateway.give("loop"))
        process.terminate()
        await asyncio.wait_for(process.communicate(), 8)
    assert result["result"].startswith(loop)


@LOOPS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_lets_jobs_finish(number: signal.Signals, loop: str) -> None:
    async with Gateway() as gateway:
        process = await child(gateway, loop)
        job = await gateway.give("wait")
        await gateway.until(lambda: gateway.in_hand and gateway.waiting)
        process.send_signal(number)
        assert process.stderr is not None
        errors = b""
        while b"leaving: 1 jobs in hand" not in errors:
            line = await process.stderr.readline()
            assert line
            errors += line
        assert process.stdin is not None
        process.stdin.write(b"finish\n")
        output, _ = await asyncio.wait_for(process.communicate(), 8)
        assert (await gateway.result_of(job))["result"] == "finished"
    assert (process.returncode, output.decode().strip()) == (0, "returned")
    assert b"worker w-child connected to http://127.0.0.1:" in errors
    assert b"actions: wait, stuck, loop, concurrency 2" in errors
    assert gateway.left == ["w-child"]


@LOOPS
async def test_a_second_signal_does_not_wait(loop: str) -> None:
    async with Gateway() as gateway:
        process = await child(gateway, loop)
        job = await gateway.give("stuck")
        await gateway.until(lambda: gateway.in_hand and gateway.waiting)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while b"leaving: 1 jobs in hand" not in (line := await process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 8)
        assert (await gateway.result_of(job))["status"] == "released"
    assert (process.returncode, output.decode().strip()) == (0, "returned")
    assert gateway.left == ["w-child"]
