package com.creedpetitt.workersdk.real;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.NonRetryableException;
import com.creedpetitt.workersdk.NotFoundException;
import com.creedpetitt.workersdk.RunFailedException;
import com.creedpetitt.workersdk.Running;
import com.creedpetitt.workersdk.SettingException;
import com.creedpetitt.workersdk.WaitTimeoutException;
import com.creedpetitt.workersdk.Worker;
import com.creedpetitt.workersdk.WorkerBuilder;
import com.creedpetitt.workersdk.WorkflowClient;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.model.Run;
import com.creedpetitt.workersdk.model.Step;
import com.fasterxml.jackson.databind.JsonNode;
import java.math.BigInteger;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/** Workers over a real Kafka, and over HTTP beside it, with a real orchestrator. */
@Execution(ExecutionMode.CONCURRENT)
class KafkaWorkerTest {
    private static final Duration END = Duration.ofSeconds(60);

    private final Installation site = Installation.shared();
    private final WorkflowClient client = site.client;
    private final String suffix = UUID.randomUUID().toString().substring(0, 8);

    private String action(String name) {
        return name + "-" + suffix;
    }

    private void define(String id, Object... steps) {
        client.define(id, List.of(steps));
    }

    private static WorkerBuilder quick() {
        return Worker.builder().kafka(Map.of("session.timeout.ms", 6_000, "heartbeat.interval.ms", 300));
    }

    private Map<String, String> environment() {
        return Map.of("KAFKA_BOOTSTRAP_SERVERS", site.kafka);
    }

    @Test
    void theExampleOfTheContractWorksUnchanged() {
        define("example-" + suffix, "step1");
        try (Child worker = Child.java("ExampleWorkerApp", environment())) {
            JsonNode output = client.run("example-" + suffix, "Hello World", END);
            assertEquals("Java processed: Hello World", output.asText());
            worker.says("connected to kafka://" + site.kafka + ", actions: step1, concurrency 10");
            assertEquals(0, worker.terminate());
            worker.says("has left kafka://" + site.kafka);
        }
    }

    @Test
    void jobsGoThroughSeveralStepsWithAllTheirDigits() {
        Worker worker = quick().build()
                .register(action("first"), payload -> payload)
                .register(action("second"), JsonNode.class, node -> node);
        define("steps-" + suffix, action("first"), action("second"));
        Map<String, Object> input = new HashMap<>();
        input.put("large", BigInteger.TEN.pow(30));
        input.put("text", "ä€😀");
        input.put("bulk", "x".repeat(1024 * 1024));
        input.put("nothing", null);
        try (Running running = new Running(worker, site.kafka)) {
            JsonNode output = client.run("steps-" + suffix, input, END);
            assertEquals(input.get("large"), output.get("large").bigIntegerValue());
            assertEquals("ä€😀", output.get("text").asText());
            assertEquals(1024 * 1024, output.get("bulk").asText().length());
            assertTrue(output.get("nothing").isNull());
        }
    }

    @Test
    void aFailureIsTriedAgainUnlessItIsTheLast() {
        AtomicInteger tries = new AtomicInteger();
        Worker worker = quick().build()
                .register(action("flaky"), payload -> {
                    if (tries.incrementAndGet() < 3) {
                        throw new IllegalStateException("not yet");
                    }
                    return tries.get();
                })
                .register(action("bad"), payload -> {
                    throw new NonRetryableException("never", "InvalidOrder");
                })
                .register(action("huge"), payload -> "x".repeat(3 * 1024 * 1024));
        Map<String, Object> retry = Map.of("delay", "20ms");
        define("flaky-" + suffix, Map.of("action", action("flaky"), "retry", retry));
        define("bad-" + suffix, action("bad"));
        define("huge-" + suffix, action("huge"));
        try (Running running = new Running(worker, site.kafka)) {
            assertEquals(3, client.run("flaky-" + suffix, 1, END).asInt());
            RunFailedException bad = assertThrows(RunFailedException.class, () -> client.run("bad-" + suffix, 1, END));
            assertEquals("InvalidOrder", bad.run().error().type());
            assertEquals(1, bad.run().steps().get(0).attempts().size());
            RunFailedException huge =
                    assertThrows(RunFailedException.class, () -> client.run("huge-" + suffix, 1, END));
            assertEquals("ResultTooLarge", huge.run().error().type());
        }
    }

    @Test
    void workersOfTwoLanguagesShareAnActionAndNoJobIsDoneTwice() {
        String script = "from workersdk import Worker\n"
                + "worker = Worker(worker_id='w-python-" + suffix + "', kafka={'heartbeat.interval.ms': 300})\n"
                + "worker.register('" + action("both")
                + "', lambda payload, context: {'worker': 'python', 'attempt': context.attempt})\n"
                + "worker.register('" + action("python") + "', lambda payload: payload)\n"
                + "worker.start(None, 'workflow-workers-python')\n";
        Map<String, AtomicInteger> executions = new ConcurrentHashMap<>();
        Worker worker = quick().concurrency(4)
                .build()
                .register(action("both"), (payload, context) -> {
                    executions
                            .computeIfAbsent(context.jobId(), id -> new AtomicInteger())
                            .incrementAndGet();
                    return Map.of("worker", "java", "attempt", context.attempt());
                })
                .register(action("java"), payload -> payload);
        define("both-" + suffix, action("both"));
        define("mixed-" + suffix, action("python"), action("java"), action("both"));
        try (Child python = Child.python(script, environment());
                Running running = new Running(worker, site.kafka)) {
            python.says("connected to");
            Map<String, Integer> by = new HashMap<>();
            // Both have their share of the partitions once both have done something.
            Installation.until("both have done jobs", () -> {
                List<String> runs = new ArrayList<>();
                for (int number = 0; number < 24; number++) {
                    runs.add(client.trigger("both-" + suffix, number));
                }
                for (String id : runs) {
                    Run run = client.await(id, END);
                    assertEquals("COMPLETED", run.status());
                    assertEquals(1, run.finalOutput().get("attempt").asInt());
                    by.merge(run.finalOutput().get("worker").asText(), 1, Integer::sum);
                }
                return by.size() == 2;
            });
            assertTrue(executions.values().stream().allMatch(count -> count.get() == 1));
            assertEquals(executions.size(), by.get("java"));
            JsonNode last = client.run("mixed-" + suffix, 1, END);
            assertEquals(1, last.get("attempt").asInt());
        }
    }

    @Test
    void whoIsAskedToEndFinishesWhatIsInHand() {
        define("slow-" + suffix, action("slow"));
        try (Child worker = Child.java(ChildWorker.class.getName(), environment(), action("slow"))) {
            String id = client.trigger("slow-" + suffix, "slow");
            worker.says("slow in");
            worker.askToEnd();
            worker.says("leaving: 1 jobs in hand");
            worker.nudge();
            assertEquals(0, worker.ends());
            worker.says("returned");
            Run run = client.await(id, END);
            assertEquals(1, run.finalOutput().get("attempt").asInt());
            assertFalse(worker.lines.stream().anyMatch(line -> line.contains("giving back")));
        }
    }

    @Test
    void theSecondSignalGivesEverythingBackAtOnce() {
        define("hasty-" + suffix, action("hasty"));
        String id = client.trigger("hasty-" + suffix, "stuck");
        try (Child worker = Child.java(ChildWorker.class.getName(), environment(), action("hasty"))) {
            worker.says("stuck in");
            worker.askToEnd();
            worker.says("leaving: 1 jobs in hand");
            worker.askToEnd();
            worker.says("giving back 1 jobs that have not finished");
            assertEquals(0, worker.ends());
        }
        Worker second = quick().build().register(action("hasty"), (payload, context) -> context.attempt());
        try (Running running = new Running(second, site.kafka)) {
            Run run = client.await(id, END);
            assertEquals("COMPLETED", run.status());
            assertEquals("RELEASED", run.steps().get(0).attempts().get(0).status());
        }
    }

    @Test
    void whenAWorkerIsKilledAnotherOneDoesItsJobAloneAndKnowsHowFarItWas() {
        define("stuck-" + suffix, action("stuck"));
        String id = client.trigger("stuck-" + suffix, "stuck");
        try (Child worker = Child.java(ChildWorker.class.getName(), environment(), action("stuck"))) {
            worker.says("stuck in");
            Installation.until(
                    "the orchestrator knows the details",
                    () -> client.get(id).raw().at("/steps/0/details/done").isInt());
            worker.kill();
        }
        AtomicBoolean knows = new AtomicBoolean();
        Worker second = quick().build().register(action("stuck"), (payload, context) -> {
            knows.set(context.details(JsonNode.class).path("done").asInt() == 40);
            return context.attempt();
        });
        try (Running running = new Running(second, site.kafka)) {
            Run run = client.await(id, END);
            assertEquals("COMPLETED", run.status(), run.toString());
            assertEquals(2, run.finalOutput().asInt());
            assertEquals("LOST", run.steps().get(0).attempts().get(0).status());
            assertTrue(knows.get());
        }
    }

    @Test
    void whoIsFullLeavesWhatWaitsToOthersAndNothingIsDoneTwice() {
        CountDownLatch go = new CountDownLatch(1);
        CountDownLatch full = new CountDownLatch(2);
        AtomicInteger others = new AtomicInteger();
        Worker busy = quick().concurrency(2).build().register(action("full"), payload -> {
            full.countDown();
            go.await();
            return "busy";
        });
        Worker free = quick().build().register(action("full"), payload -> {
            others.incrementAndGet();
            return "free";
        });
        define("full-" + suffix, action("full"));
        List<String> runs = new ArrayList<>();
        try (Running first = new Running(busy, site.kafka)) {
            for (int number = 0; number < 30; number++) {
                runs.add(client.trigger("full-" + suffix, number));
            }
            Installation.until("the first is full", () -> full.getCount() == 0);
            try (Running second = new Running(free, site.kafka)) {
                Installation.until("the free one does all that waits", () -> others.get() == 28);
                go.countDown();
                for (String id : runs) {
                    Run run = client.await(id, END);
                    assertEquals("COMPLETED", run.status());
                    assertEquals(1, run.steps().get(0).attempts().size());
                }
            }
        }
        assertEquals(28, others.get());
    }

    @Test
    void aWorkerThatComesBackDoesNotDoAgainWhatWasDone() throws InterruptedException {
        AtomicInteger executions = new AtomicInteger();
        define("once-" + suffix, action("once"));
        for (int life = 1; life <= 2; life++) {
            Worker worker = quick().build().register(action("once"), payload -> executions.incrementAndGet());
            try (Running running = new Running(worker, site.kafka)) {
                assertEquals(life, client.run("once-" + suffix, life, END).asInt());
            }
        }
        assertEquals(2, executions.get());
    }

    @Test
    void aLongJobLivesOnItsHeartbeatsAndIsInterruptedWhenItsRunIsCancelled() throws InterruptedException {
        CountDownLatch begun = new CountDownLatch(1);
        CountDownLatch stopped = new CountDownLatch(1);
        Worker worker = quick().lease(Duration.ofSeconds(4)).build().register(action("long"), (payload, context) -> {
            begun.countDown();
            try {
                new CountDownLatch(1).await();
            } finally {
                if (context.isCancelled()) {
                    stopped.countDown();
                }
            }
            return null;
        });
        define("long-" + suffix, action("long"));
        try (Running running = new Running(worker, site.kafka)) {
            String id = client.trigger("long-" + suffix, 1);
            assertTrue(begun.await(60, TimeUnit.SECONDS));
            assertThrows(WaitTimeoutException.class, () -> client.await(id, Duration.ofSeconds(9)));
            Step step = client.get(id).steps().get(0);
            assertEquals(1, step.attempts().size(), "more than two leases, one attempt");
            client.cancel(id, "enough");
            assertTrue(stopped.await(60, TimeUnit.SECONDS));
            assertEquals("CANCELLED", client.await(id, END).status());
        }
    }

    @Test
    void aWorkerOverHttpWorksBesideThem() {
        Worker overHttp = Worker.builder().build().register(action("web"), payload -> "web " + payload);
        Worker overKafka = quick().build().register(action("queue"), payload -> "queue " + payload);
        define("beside-" + suffix, action("web"), action("queue"));
        try (Running one = new Running(overHttp, site.url);
                Running two = new Running(overKafka, site.kafka)) {
            assertEquals("queue web 1", client.run("beside-" + suffix, 1, END).asText());
            Installation.until(
                    "both are known",
                    () -> client.workers().stream()
                                    .filter(known -> known.workerId().equals(overHttp.workerId())
                                            || known.workerId().equals(overKafka.workerId()))
                                    .filter(known -> known.status().equals("CONNECTED"))
                                    .count()
                            == 2);
            assertTrue(client.events(client.trigger("beside-" + suffix, 2)).size() > 0);
        }
        assertThrows(NotFoundException.class, () -> client.get(UUID.randomUUID().toString()));
    }

    @Test
    void everyJobOfARunCarriesTheTraceThatItWasTriggeredIn() {
        Worker overKafka = quick().build().register(action("queue"), (payload, context) -> context.trace());
        Worker overHttp = Worker.builder()
                .build()
                .register(action("web"), (payload, context) -> List.of(payload, context.trace()));
        define("traced-" + suffix, action("queue"), action("web"));
        Map<String, String> trace = Map.of(
                "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate", "vendor=value");
        try (Running one = new Running(overKafka, site.kafka);
                Running two = new Running(overHttp, site.url)) {
            JsonNode output = client.run("traced-" + suffix, 1, END, trace);
            assertEquals(2, output.size());
            output.forEach(seen -> assertEquals(trace, Json.natural(seen)));
            assertEquals("[{},{}]", client.run("traced-" + suffix, 1, END).toString());
        }
    }

    @Test
    void whatThePromisesRestOnCannotBeSet() {
        Worker worker = Worker.builder().kafka(Map.of("group.id", "mine")).build();
        worker.register("a", payload -> payload);
        SettingException error = assertThrows(SettingException.class, () -> worker.start(site.kafka));
        assertTrue(error.getMessage().contains("group.id is the worker's own"), error.getMessage());
        Worker wrong =
                Worker.builder().kafka(Map.of("session.timeout.ms", "soon")).build();
        wrong.register("a", payload -> payload);
        assertThrows(SettingException.class, () -> wrong.start(site.kafka));
    }
}
