"""Which of its clients a worker sends its results by."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError

from tests.kafka.stage import Stage
from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.sender import MANY, Sender, Sending


async def test_results_do_not_wait_for_a_client_that_is_not_ready_yet(stage: Stage) -> None:
    """They would half a second, and be lost with a worker that is killed meanwhile."""
    logger = logging.getLogger("workersdk")
    config, quiet = KafkaConfig(servers=stage.servers), Quiet(logger)
    sender = Sender(config.producer("w", quiet), config.producer_of_many("w", quiet), logger, lambda: None)
    ended: list[KafkaError | None] = []

    def results() -> list[Sending]:
        return [
            Sending(stage.topics["results"], b"r", b"{}", lambda _, error: ended.append(error)) for _ in range(MANY)
        ]

    sender.send_results(results())
    assert sender._producer_of_many is not None
    assert (len(sender._producer), len(sender._producer_of_many)) == (MANY, 0)
    await sender.wait_sent()
    sender._ready_at = 0.0
    sender.send_results(results())
    assert (len(sender._producer), len(sender._producer_of_many)) == (0, MANY)
    await sender.wait_sent()
    assert ended == [None] * 2 * MANY
    sender.close()
