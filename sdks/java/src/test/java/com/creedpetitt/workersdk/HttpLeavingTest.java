package com.creedpetitt.workersdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** A worker over HTTP leaves. */
class HttpLeavingTest extends HttpCase {
    @Test
    void theOrchestratorsWordMakesItLeave() {
        worker.register("work", payload -> payload);
        Running running = running();
        gateway.resultOf(gateway.give("work", 1));
        gateway.change(() -> gateway.isDraining = true);
        running.ends();
        assertTrue(lines.has("the orchestrator asks this worker to finish and go"));
        assertEquals(1, gateway.left.size());
    }

    @Test
    void whoLeavesFinishesWhatIsInHand() {
        CountDownLatch begun = new CountDownLatch(1);
        CountDownLatch go = new CountDownLatch(1);
        worker.register("work", payload -> {
            begun.countDown();
            go.await();
            return payload;
        });
        Running running = running();
        ObjectNode job = gateway.give("work", 1);
        gateway.until(() -> begun.getCount() == 0);
        worker.stop();
        gateway.until(() -> lines.has("leaving: 1 jobs in hand get up to 5.0 s"));
        ObjectNode late = gateway.give("work", 2);
        go.countDown();
        running.ends();
        assertEquals(1, gateway.resultOf(job).get("result").asInt());
        assertTrue(gateway.queue.contains(late)
                || "released".equals(gateway.resultOf(late).path("status").asText()));
    }

    @Test
    void whatDoesNotFinishInTimeIsGivenBack() {
        CountDownLatch begun = new CountDownLatch(1);
        AtomicReference<Boolean> isCancelled = new AtomicReference<>();
        Worker hasty = worker().drainTimeout(Duration.ofMillis(50)).build().register("work", (payload, context) -> {
            context.heartbeat("half");
            begun.countDown();
            try {
                new CountDownLatch(1).await();
            } finally {
                isCancelled.set(context.isCancelled());
            }
            return null;
        });
        Running running = new Running(hasty, gateway.url());
        ObjectNode job = gateway.give("work", 1);
        gateway.until(() -> begun.getCount() == 0);
        hasty.stop();
        running.ends();
        assertEquals("released", gateway.resultOf(job).get("status").asText());
        assertEquals("half", gateway.resultOf(job).get("details").asText());
        gateway.until(() -> Boolean.TRUE.equals(isCancelled.get()));
        assertTrue(lines.has("WARN giving back 1 jobs that have not finished"));
    }

    @Test
    void anInterruptionGivesEverythingBackAtOnce() {
        CountDownLatch begun = new CountDownLatch(1);
        worker.register("work", payload -> {
            begun.countDown();
            new CountDownLatch(1).await();
            return null;
        });
        Running running = running();
        ObjectNode job = gateway.give("work", 1);
        gateway.until(() -> begun.getCount() == 0);
        running.thread.interrupt();
        running.ends();
        assertTrue(running.wasInterrupted(), "whoever comes after it is to know");
        assertEquals("released", gateway.resultOf(job).get("status").asText());
    }

    @Test
    void whoIsToldToLeaveBeforeItIsConnectedReturns() {
        worker.register("work", payload -> payload);
        gateway.down();
        Running running = running();
        gateway.until(() -> lines.has("cannot reach the orchestrator at " + gateway.url()));
        worker.stop();
        running.ends();
    }
}
