"""Questions about consumer groups that no process dies of, whatever has become of their coordinator."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import _acl as acl
from confluent_kafka.admin import _resource as resource

from orchestrator.adapters.kafka import groups
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.groups import Groups
from orchestrator.adapters.kafka.topics import prepare
from stack.kafka import Kafka
from stack.ports import free_port
from tests.broker.site import PATIENCE_SECONDS, Site

ASKERS = 2
ANSWERS = 5
"""Of each process, before and after."""


class Guarded(Kafka):
    """A broker that refuses what somebody has forbidden."""

    def _properties(self) -> dict[str, str]:
        return {
            **super()._properties(),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        }


class Asker:
    """A process that asks, and what it has heard."""

    def __init__(self, servers: str) -> None:
        command = [sys.executable, "-m", "tests.broker.asker", servers]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers = 0
        self._changed = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.answers += " wait, " in line
                self._changed.notify_all()

    def has_more(self, count: int) -> bool:
        """Wait for so many more answers; False when they do not come."""
        with self._changed:
            wanted = self.answers + count
            return self._changed.wait_for(lambda: self.answers >= wanted, PATIENCE_SECONDS)

    def end(self) -> int:
        """Let it end, and say how it did."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Take it down, if it has not ended."""
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def askers(servers: str) -> Iterator[list[Asker]]:
    """Let processes ask while the block runs; none of them dies."""
    asking = [Asker(servers) for _ in range(ASKERS)]
    try:
        yield asking
        assert [asker.end() for asker in asking] == [0] * ASKERS
    finally:
        for asker in asking:
            asker.kill()


def commit(servers: str, group: str, topic: str, offset: int) -> None:
    """Say for a group how far it is in partition 0."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_no_process_dies_of_a_question_on_a_new_cluster_or_while_the_broker_restarts(tmp_path: Path) -> None:
    kafka = Guarded(tmp_path, free_port())
    with kafka.running():
        config = KafkaConfig(servers=kafka.url)
        prepare(config)
        # Nobody has made a coordinator yet: to ask for its group makes one.
        with askers(kafka.url) as asking:
            assert all(asker.has_more(ANSWERS) for asker in asking)
            commit(kafka.url, "workflow-worker.read", config.topics.jobs, 1)
            commit(kafka.url, f"{config.group}.{config.topics.results}", config.topics.results, 1)
            # One that commits nothing is asked what it has.
            stranger = Consumer({"bootstrap.servers": kafka.url, "group.id": "stranger", "enable.auto.commit": False})
            stranger.subscribe([config.topics.jobs])
            stranger.poll(PATIENCE_SECONDS / 10)
            assert stranger.assignment()
            kafka.kill()
            kafka.start()
            assert all(asker.has_more(ANSWERS) for asker in asking)
            stranger.close()
        _forbid(kafka.url, "secret")
        known = Groups(config)
        assert known.committed("secret", [config.topics.jobs]) == {}
        assert known.committed("workflow-worker.read", [config.topics.jobs]) == {config.topics.jobs: {0: 1}}
        known.close()


def _forbid(servers: str, group: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    binding = acl.AclBinding(
        resource.ResourceType.GROUP,
        group,
        resource.ResourcePatternType.LITERAL,
        "User:ANONYMOUS",
        "*",
        acl.AclOperation.ALL,
        acl.AclPermissionType.DENY,
    )
    admin.create_acls([binding])[binding].result(PATIENCE_SECONDS)
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
    consumer.subscribe(["workflow-jobs"])
    while (refused := consumer.poll(PATIENCE_SECONDS)) is not None:
        if (error := refused.error()) is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            break
    assert refused is not None
    consumer.close()


def test_few_consumers_are_kept_and_each_answer_is_about_the_group_that_was_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "KEPT_MAX", 2)
    config = KafkaConfig(servers=site.kafka, topics=site.topics, prefix=site.prefix, partitions=3)
    prepare(config)
    names = [f"{site.prefix}group-{number}" for number in range(4)]
    for number, name in enumerate(names):
        commit(site.kafka, name, site.topics.jobs, number)
    known = Groups(config)
    for _ in range(2):
        asked = [known.committed(name, [site.topics.jobs, site.topics.results]) for name in names]
        assert asked == [{site.topics.jobs: {0: number}} for number in range(4)]
    assert list(known._idle) == names[2:]
    assert known.committed(f"{site.prefix}nobody", [site.topics.jobs]) == {}
    assert {name for name in known.all() if name in names} == set(names)
    known.close()
    assert known.committed(names[0], [site.topics.jobs]) == {site.topics.jobs: {0: 0}}
    assert list(known._idle) == []


def test_what_the_members_of_a_group_have_is_read(site: Site) -> None:
    config = KafkaConfig(servers=site.kafka, topics=site.topics, prefix=site.prefix, partitions=3)
    prepare(config)
    member = site.reader("readers", site.topics.jobs)
    member.poll(PATIENCE_SECONDS / 10)
    known = Groups(config)
    (found,) = [one for one in known.members() if one.group == f"{site.prefix}readers"]
    assert found.client_id == "rdkafka"
    assert {topic: set(partitions) for topic, partitions in found.assigned.items()} == {site.topics.jobs: {0, 1, 2}}
    assert known.all()[f"{site.prefix}readers"]
    member.close()
    known.close()
