package com.creedpetitt.workersdk.real;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.Running;
import com.creedpetitt.workersdk.Surroundings;
import com.creedpetitt.workersdk.Worker;
import com.creedpetitt.workersdk.WorkerBuilder;
import com.creedpetitt.workersdk.internal.kafka.ShrunkResults;
import com.creedpetitt.workersdk.internal.kafka.UnheardGroup;
import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What travels through Kafka, record by record, with the orchestrator's part played by the test. */
class KafkaRecordsTest {
    private final Installation site = Installation.shared();
    private final Stage stage = new Stage(site.kafka);
    private final String suffix = UUID.randomUUID().toString().substring(0, 8);

    private String action(String name) {
        return name + "-" + suffix;
    }

    private WorkerBuilder quick() {
        return Surroundings.worker(stage.environment)
                .lease(Duration.ofSeconds(20))
                .kafka(Map.of("session.timeout.ms", 6_000, "heartbeat.interval.ms", 300));
    }

    @AfterEach
    void close() {
        stage.close();
    }

    @Test
    void aResultRepeatsWhatItsJobSaid() {
        Worker worker = quick().build()
                .register(action("act"), payload -> payload)
                .register(action("bad"), payload -> {
                    throw new IllegalStateException("broken");
                });
        try (Running running = new Running(worker, site.kafka)) {
            String id = stage.give(action("act"), Map.of("a", 1));
            Stage.Result result = stage.resultOf(id);
            assertEquals(id.replace(":0", ""), result.key());
            assertEquals(id, result.headers().get("wf-job-id"));
            assertEquals("1", result.headers().get("wf-attempt"));
            assertEquals("application/json", result.headers().get("content-type"));
            JsonNode value = result.value();
            assertEquals("completed", value.get("status").asText());
            assertEquals("{\"a\":1}", value.get("result").toString());
            assertEquals(worker.workerId(), value.get("workerId").asText());
            assertEquals(action("act"), value.get("action").asText());
            assertTrue(value.get("startedAt").asText().endsWith("Z"));
            JsonNode failed = stage.resultOf(stage.give(action("bad"), 1)).value();
            assertEquals("failed", failed.get("status").asText());
            assertTrue(failed.get("result").isNull());
            assertEquals("IllegalStateException", failed.at("/error/type").asText());
        }
        Installation.until(
                "the goodbye is heard",
                () -> stage.heartbeats.stream()
                        .anyMatch(beat -> beat.get("workerId").asText().equals(worker.workerId())
                                && beat.get("leaving").asBoolean()));
        JsonNode hello = stage.heartbeats.stream()
                .filter(beat -> beat.get("workerId").asText().equals(worker.workerId()))
                .findFirst()
                .orElseThrow();
        assertEquals("workersdk-java", hello.get("sdk").asText());
        assertEquals(10, hello.get("capacity").asInt());
        assertEquals(20, hello.get("lease").asInt());
    }

    @Test
    void aResultGoesToThePartitionThatItsJobNames() {
        Worker worker = quick().build()
                .register(action("act"), payload -> payload)
                .register(action("bad"), payload -> {
                    throw new IllegalStateException("broken");
                });
        Map<String, Integer> homes = new HashMap<>();
        List<String> elsewhere = new ArrayList<>();
        int count = stage.resultPartitions();
        try (Running running = new Running(worker, site.kafka)) {
            for (int home = 0; home < count; home++) {
                for (String name : List.of("act", "bad", "act", "bad")) {
                    homes.put(stage.giveWithHome(Integer.toString(home), action(name)), home);
                }
            }
            for (String home : List.of(Integer.toString(count), "999999999", "none")) {
                elsewhere.add(stage.giveWithHome(home, action("act")));
            }
            homes.forEach((id, home) -> assertEquals(home, stage.resultOf(id).partition(), id));
            elsewhere.forEach(stage::resultOf);
        }
        homes.keySet().forEach(id -> assertEquals(1, stage.count(id)));
        elsewhere.forEach(id -> assertEquals(1, stage.count(id)));
    }

    @Test
    void aResultForAPartitionThatIsNoMoreArrives() {
        String name = action("act");
        try (ShrunkResults shrunk = new ShrunkResults(site.kafka, stage.environment)) {
            List<String> jobs = shrunk.send(name, stage.resultPartitions());
            jobs.forEach(stage::resultOf);
            jobs.forEach(id -> assertEquals(1, stage.count(id)));
        }
    }

    @Test
    void recordsOfAnybodyAreJobsOrArePassedOver() {
        Worker worker = quick().build().register(action("act"), (payload, context) -> context.jobId());
        try (Running running = new Running(worker, site.kafka)) {
            String run = "run-" + suffix;
            stage.write("workflow-jobs", null, "no JSON", List.of());
            stage.write("workflow-jobs", null, null, List.of());
            stage.write("workflow-jobs", null, "[1]", List.of());
            stage.write("workflow-jobs", null, "{\"action\":\"" + action("act") + "\"}", List.of());
            stage.write(
                    "workflow-jobs",
                    null,
                    "{\"workflowRunId\":\"" + run + "\",\"action\":\"" + action("act") + "\",\"payload\":1}",
                    List.of());
            Stage.Result result = stage.resultOf("workflowRunId", run);
            assertEquals(run, result.key());
            assertFalse(result.value().has("jobId"));
            assertFalse(result.headers().containsKey("wf-job-id"));
            assertTrue(
                    result.value().get("result").asText().startsWith(stage.topic("workflow-jobs") + ":"),
                    "a name that is the same again");
        }
    }

    @Test
    void anActionMayHaveATopicToItself() {
        String topic = "own-" + suffix;
        stage.write(topic, null, "makes the topic", List.of());
        Worker worker = quick().routes(Map.of(action("own"), topic))
                .build()
                .register(action("own"), payload -> "own")
                .register(action("shared"), payload -> "shared");
        try (Running running = new Running(worker, site.kafka)) {
            String own = stage.give(topic, action("own"), 1, false);
            String shared = stage.give(action("shared"), 1);
            assertEquals("own", stage.resultOf(own).value().get("result").asText());
            assertEquals("shared", stage.resultOf(shared).value().get("result").asText());
        }
    }

    @Test
    void aJobThatLastsIsNamedInHeartbeats() {
        CountDownLatch go = new CountDownLatch(1);
        Worker worker = quick().build().register(action("act"), payload -> {
            go.await();
            return payload;
        });
        try (Running running = new Running(worker, site.kafka)) {
            String id = stage.give(action("act"), 1);
            Installation.until(
                    "it is named",
                    () -> stage.heartbeats.stream()
                            .anyMatch(beat ->
                                    beat.at("/inFlight/0/jobId").asText().equals(id)));
            go.countDown();
            assertEquals("completed", stage.resultOf(id).value().get("status").asText());
        }
    }

    @Test
    void aSuspectRunsAlone() {
        AtomicInteger now = new AtomicInteger();
        AtomicInteger beside = new AtomicInteger();
        CountDownLatch go = new CountDownLatch(1);
        Worker worker = quick().concurrency(8).build().register(action("act"), payload -> {
            int running = now.incrementAndGet();
            if ("suspect".equals(payload)) {
                beside.set(running - 1);
            } else {
                go.await();
            }
            now.decrementAndGet();
            return payload;
        });
        List<String> jobs = new ArrayList<>();
        try (Running running = new Running(worker, site.kafka)) {
            for (int number = 0; number < 4; number++) {
                jobs.add(stage.give(action("act"), number));
            }
            Installation.until("four run", () -> now.get() == 4);
            jobs.add(stage.give("workflow-jobs", action("act"), "suspect", true));
            for (int number = 0; number < 4; number++) {
                jobs.add(stage.give(action("act"), number));
            }
            go.countDown();
            jobs.forEach(stage::resultOf);
        }
        assertEquals(0, beside.get());
        jobs.forEach(job -> assertEquals(1, stage.count(job)));
    }

    @Test
    void whatHasFinishedIsNotLostWithASuspect() {
        try (Child child = Child.java(ChildWorker.class.getName(), stage.environment, action("act"))) {
            List<String> jobs = new ArrayList<>(List.of(stage.giveTo(0, action("act"))));
            stage.resultOf(jobs.get(0));
            jobs.addAll(stage.burst(0, action("act"), 200, "die"));
            assertEquals(ChildWorker.DEATH, child.ends());
            jobs.forEach(stage::resultOf);
            jobs.forEach(job -> assertEquals(1, stage.count(job)));
        }
    }

    @Test
    void aJobWhoseCommitWasMadeUnheardIsTheNextWorkers() {
        String id = stage.giveTo(0, action("act"));
        try (UnheardGroup unheard = new UnheardGroup(action("act"), site.kafka, stage.environment)) {
            Installation.until("it is committed", () -> {
                unheard.step();
                return stage.committed(action("act"), 0) == 1;
            });
            assertEquals(0, unheard.started());
        }
        try (Running next = new Running(quick().build().register(action("act"), payload -> payload), site.kafka)) {
            stage.resultOf(id);
        }
    }

    @Test
    void manyJobsAreEachDoneOnceWhileWorkersComeAndGo() {
        Map<String, AtomicInteger> executions = new ConcurrentHashMap<>();
        List<String> jobs = new ArrayList<>();
        List<Worker> workers = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            Worker worker = quick().concurrency(5).strictOffsets(number == 1).build();
            for (String name : number == 2 ? List.of("a") : List.of("a", "b")) {
                worker.register(action(name), (payload, context) -> {
                    executions
                            .computeIfAbsent(context.jobId(), id -> new AtomicInteger())
                            .incrementAndGet();
                    return payload;
                });
            }
            workers.add(worker);
        }
        try (Running first = new Running(workers.get(0), site.kafka)) {
            give(jobs, 100);
            Running second = new Running(workers.get(1), site.kafka);
            give(jobs, 100);
            try (Running third = new Running(workers.get(2), site.kafka)) {
                give(jobs, 100);
                second.close();
                give(jobs, 100);
                jobs.forEach(stage::resultOf);
            }
        }
        assertEquals(400, executions.size());
        assertTrue(executions.values().stream().allMatch(count -> count.get() == 1), executions.toString());
        jobs.forEach(job -> assertEquals(1, stage.count(job)));
    }

    private void give(List<String> jobs, int count) {
        for (int number = 0; number < count; number++) {
            jobs.add(stage.give(action(number % 2 == 0 ? "a" : "b"), number));
        }
    }
}
