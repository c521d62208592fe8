"""Hundreds of consumer groups that have nothing to do with jobs cost little, and hide none that has."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from confluent_kafka import KafkaException

from orchestrator.adapters.kafka import others, paced
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.groups import Groups
from orchestrator.adapters.kafka.others import STRANGE_MAX, Others
from orchestrator.adapters.kafka.paced import Paced
from orchestrator.adapters.kafka.topics import prepare
from tests.broker.site import PATIENCE_SECONDS, RawWorker, Site, define, ended, trigger
from tests.broker.test_groups import commit

CROWD = 3 * STRANGE_MAX


@pytest.fixture
def crowd(site: Site) -> None:
    """Groups that have committed elsewhere, and have no members."""
    elsewhere = f"{site.prefix}elsewhere"
    site.make_topic(elsewhere)
    names = [f"{site.prefix}{uuid.uuid4().hex}" for _ in range(CROWD)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: commit(site.kafka, name, elsewhere, 1), names))


@pytest.fixture
def config(site: Site) -> KafkaConfig:
    config = KafkaConfig(servers=site.kafka, topics=site.topics, prefix=site.prefix, partitions=3)
    prepare(config)
    return config


@pytest.fixture
def known(config: KafkaConfig) -> Iterator[Groups]:
    known = Groups(config)
    yield known
    known.close()


@pytest.mark.usefixtures("crowd")
def test_a_look_finds_who_reads_and_asks_few_of_the_others(
    site: Site, config: KafkaConfig, known: Groups, raw: RawWorker
) -> None:
    commit(site.kafka, f"{site.prefix}gone", site.topics.jobs, 7)
    until = monotonic() + PATIENCE_SECONDS
    while not raw._consumer.assignment():
        raw._consumer.poll(0.1)
        assert monotonic() < until
    looking = Others(config, known)
    # It commits nothing.
    assert looking.furthest() == {site.topics.jobs: dict.fromkeys(range(3), 2**62)}
    assert looking.asked <= STRANGE_MAX + 1
    assert len(looking._known) >= CROWD + 2
    _looks_until_all_are_known(looking)
    # All of them are known now: only who reads is asked, and who has read every now and then.
    before = looking.asked
    looking.furthest()
    assert looking.asked - before <= 2


@pytest.mark.usefixtures("crowd")
def test_who_has_read_and_gone_is_found_among_many(site: Site, config: KafkaConfig, known: Groups) -> None:
    commit(site.kafka, f"{site.prefix}gone", site.topics.jobs, 7)
    assert _looks_until_all_are_known(Others(config, known)) == {site.topics.jobs: {0: 7}}


def test_one_that_comes_later_is_asked_before_those_that_were_there(
    site: Site, config: KafkaConfig, known: Groups, monkeypatch: pytest.MonkeyPatch, crowd: None
) -> None:
    monkeypatch.setattr(paced, "PAUSE_SECONDS_MAX", 0.0)
    monkeypatch.setattr(others, "STRANGE_MAX", 1)
    looking = Others(config, known)
    assert looking.furthest() == {}
    commit(site.kafka, f"{site.prefix}late", site.topics.jobs, 7)
    assert looking.furthest() == {site.topics.jobs: {0: 7}}
    assert looking.asked == 2


def _looks_until_all_are_known(looking: Others) -> dict[str, dict[int, int]]:
    until = monotonic() + PATIENCE_SECONDS
    while True:
        found = looking.furthest()
        if all(one.reads_jobs or one.pause > 0 for one in looking._known.values()):
            return found
        assert monotonic() < until


@pytest.mark.usefixtures("crowd")
async def test_a_job_in_the_hands_of_a_silent_worker_has_its_lease_beside_many_groups(
    site: Site, raw: RawWorker
) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1", "timeout": 1, "retry": {"delay": 0}})
        run_id = await trigger(orchestrator)
        assert (await raw.job())["attempt"] == 1
        raw.commit()
        assert (await raw.job())["attempt"] == 2
        raw.answer({"workflowRunId": run_id, "action": "step1"}, "done")
        run = await ended(orchestrator, run_id)
    assert (run.status, run.steps[0].attempts[0].status) == ("COMPLETED", "TIMED_OUT")


def test_the_longer_an_answer_takes_the_less_often_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    asked: list[float] = []
    monkeypatch.setattr(paced, "monotonic", lambda: now)

    def ask() -> int:
        nonlocal now
        asked.append(now)
        now += 0.1
        if len(asked) == 2:
            raise KafkaException("away")
        return len(asked)

    answers = Paced(ask)
    assert (answers.get(), answers.get()) == (1, 1)
    now += 0.1 / paced.SHARE_MAX
    for _ in range(2):
        with pytest.raises(KafkaException):
            answers.get()
    now += 0.1 / paced.SHARE_MAX
    assert (answers.get(), answers.get()) == (3, 3)
