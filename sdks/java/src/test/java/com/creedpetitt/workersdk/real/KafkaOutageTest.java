package com.creedpetitt.workersdk.real;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.Lines;
import com.creedpetitt.workersdk.Running;
import com.creedpetitt.workersdk.Surroundings;
import com.creedpetitt.workersdk.Worker;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

/** The broker goes away and comes back: nothing else runs meanwhile. */
@Isolated
class KafkaOutageTest {
    private static final Duration END = Duration.ofSeconds(40);

    private final Installation site = Installation.shared();
    private final Lines lines = new Lines();

    @Test
    void aJobThatIsClaimedWhileItsWorkerLeavesIsTheNextWorkers() {
        String action = "act-" + UUID.randomUUID();
        CountDownLatch go = new CountDownLatch(1);
        CountDownLatch begun = new CountDownLatch(1);
        try (Stage stage = new Stage(site.kafka)) {
            Worker leaver = Surroundings.worker(stage.environment)
                    .logger(lines)
                    .concurrency(1)
                    .strictOffsets(true)
                    .build()
                    .register(action, payload -> {
                        begun.countDown();
                        go.await();
                        return payload;
                    });
            String second;
            try (Running running = new Running(leaver, site.kafka)) {
                String first = stage.giveTo(0, action);
                Installation.until("it is in hand", () -> begun.getCount() == 0);
                second = stage.giveTo(0, action);
                stage.litter(0);
                Installation.until("what is behind the second one is read", () -> lines.has("is not a job"));
                site.broker("pause");
                try {
                    go.countDown();
                    Installation.until("the second one is claimed", () -> isIn("workersdk-groups", "commitSync"));
                    leaver.stop();
                    Installation.until(
                            "it takes no more",
                            () -> isIn(running.thread.getName(), "drain")
                                    && !isIn(running.thread.getName(), "stopTaking"));
                } finally {
                    site.broker("resume");
                }
                stage.resultOf(first);
            }
            Worker next = Surroundings.worker(stage.environment).build().register(action, payload -> "next");
            try (Running running = new Running(next, site.kafka)) {
                assertEquals(
                        "next", stage.resultOf(second).value().get("result").asText());
            }
        }
    }

    private static boolean isIn(String thread, String method) {
        return Thread.getAllStackTraces().entrySet().stream()
                .filter(one -> one.getKey().getName().equals(thread))
                .flatMap(one -> Arrays.stream(one.getValue()))
                .anyMatch(frame -> frame.getMethodName().equals(method));
    }

    @Test
    void nothingIsLostOrDoneTwiceWhenTheBrokerIsKilled() {
        String action = "outage-" + UUID.randomUUID();
        CountDownLatch go = new CountDownLatch(1);
        CountDownLatch begun = new CountDownLatch(1);
        AtomicInteger executions = new AtomicInteger();
        Worker worker = Worker.builder()
                .logger(lines)
                .lease(Duration.ofSeconds(6))
                .kafka(Map.of("heartbeat.interval.ms", 300))
                .build()
                .register(action, payload -> {
                    executions.incrementAndGet();
                    begun.countDown();
                    go.await();
                    return payload;
                });
        site.client.define(action, List.of(action));
        try (Running running = new Running(worker, site.kafka)) {
            String id = site.client.trigger(action, 1);
            Installation.until("it is in hand", () -> begun.getCount() == 0);
            site.broker("kill");
            go.countDown();
            Installation.until("it is told once", () -> lines.has("WARN lost kafka://" + site.kafka));
            Running late = new Running(
                    Worker.builder().logger(lines).build().register(action, payload -> payload), site.kafka);
            Installation.until("the other one is waiting", () -> lines.has("WARN cannot reach kafka://" + site.kafka));
            site.broker("start");
            assertEquals(1, site.client.await(id, END).finalOutput().asInt());
            assertEquals(2, site.client.run(action, 2, END).asInt());
            Installation.until("that it is back is told", () -> lines.has("INFO connected again to kafka://"));
            Installation.until("the other one is there", () -> lines.count("INFO worker ") == 2);
            late.close();
        }
        assertTrue(executions.get() <= 2);
        assertEquals(1, lines.count("WARN lost"));
    }
}
