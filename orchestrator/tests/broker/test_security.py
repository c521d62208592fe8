"""A broker that asks for TLS and a password: with them everything works, without them the start says why it cannot."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer

from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.errors import Unavailable
from orchestrator.settings import Settings
from stack.ports import free_port
from tests.broker.secured import PASSWORD, SecuredKafka
from tests.broker.site import Site, define, ended, next_message, trigger


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with SecuredKafka(tmp_path_factory.mktemp("secured"), free_port()).running() as kafka:
        yield kafka


def settings(site: Site, kafka: SecuredKafka, **properties: str) -> Settings:
    return Settings(
        database=site.database,
        kafka=kafka.secured,
        kafka_prefix=site.prefix,
        partitions=1,
        kafka_properties={**kafka.properties, **properties},
    )


async def test_a_run_completes_over_tls_and_sasl(site: Site, secured: SecuredKafka) -> None:
    client = {"bootstrap.servers": secured.secured, **secured.properties}
    async with open_orchestrator(settings(site, secured)) as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        consumer = Consumer({**client, "group.id": "raw", "auto.offset.reset": "earliest"})
        consumer.subscribe([site.topics.jobs])
        await next_message(consumer)
        consumer.close()
        producer = Producer(client)
        answer = f'{{"workflowRunId": "{run_id}", "action": "step1", "result": "done"}}'
        producer.produce(site.topics.results, answer.encode())
        assert producer.flush(30) == 0
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sasl.password", "a wrong password", "refuses this client: .*[Aa]uthentication"),
        ("ssl.ca.location", "", "refuses this client: .*certificate"),
        ("no.such.property", "x", 'No such configuration property: "no.such.property"'),
        ("security.protocol", "carrier pigeon", "carrier pigeon"),
        ("retries", "0", "retries"),
        ("session.timeout.ms", "never", "session.timeout.ms"),
        ("error_cb", "x", "error_cb"),
    ],
)
async def test_a_client_that_cannot_come_in_is_told_why_and_no_secret_is_shown(
    site: Site, secured: SecuredKafka, caplog: pytest.LogCaptureFixture, name: str, value: str, said: str
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = settings(site, secured, **{name: value})
    if not value:
        del asked.kafka_properties[name]
    with pytest.raises(Unavailable, match=said) as caught:
        async with open_orchestrator(asked):
            pass
    for shown in (str(caught.value), caplog.text, repr(asked), asked.place):
        assert PASSWORD not in shown
        assert "a wrong password" not in shown


def test_the_settings_of_a_client_are_shown_without_its_secrets(site: Site, secured: SecuredKafka) -> None:
    assert "sasl" not in repr(settings(site, secured))
