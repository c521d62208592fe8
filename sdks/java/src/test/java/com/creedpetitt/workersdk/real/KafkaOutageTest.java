package com.creedpetitt.workersdk.real;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.Lines;
import com.creedpetitt.workersdk.Running;
import com.creedpetitt.workersdk.Worker;
import java.time.Duration;
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
