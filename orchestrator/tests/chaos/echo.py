"""Writes a part of all results a second time, some late and out of order: ``python -m tests.chaos.echo PART``.

Its own records are repeated as well, so that some come three times and more.
"""

from __future__ import annotations

import os
import random
import signal
import sys

from confluent_kafka import Consumer, KafkaException, Message, Producer

from orchestrator.demo.lifeline import stop_with_parent

HELD_MAX = 30


def main(part: float) -> None:
    """Serve until told to stop."""
    stop_with_parent()
    is_leaving: list[bool] = []
    signal.signal(signal.SIGTERM, lambda number, frame: is_leaving.append(True))
    chance = random.Random(os.getpid())
    topic = os.environ["WORKFLOW_RESULTS_TOPIC"]
    servers = {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"], "log_level": 2}
    producer = Producer(servers)
    consumer = Consumer({**servers, "group.id": "echo", "enable.auto.commit": True, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    held: list[Message] = []
    count = 0
    while not is_leaving:
        message = consumer.poll(0.2)
        if message is None:
            while held:
                count += _repeat(producer, topic, held.pop())
                print(f"repeated {count}", flush=True)
        elif message.error() is None and chance.random() < part:
            held.append(message)
            chance.shuffle(held)
            if len(held) > HELD_MAX:
                count += _repeat(producer, topic, held.pop())
                print(f"repeated {count}", flush=True)
        producer.poll(0)
    print(f"repeated {count}", flush=True)
    producer.flush(10)
    try:
        consumer.close()
    except KafkaException as error:
        print(error, flush=True)


def _repeat(producer: Producer, topic: str, message: Message) -> int:
    producer.produce(topic, message.value(), message.key(), headers=message.headers())
    return 1


if __name__ == "__main__":
    main(float(sys.argv[1]))
