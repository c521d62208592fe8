package com.creedpetitt.workersdk.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.NonRetryableException;
import com.creedpetitt.workersdk.RetryLaterException;
import com.creedpetitt.workersdk.Worker;
import com.creedpetitt.workersdk.WorkflowException;
import com.creedpetitt.workersdk.model.Attempt;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** The example of the README, and what it leaves open. */
class SimulatedRunTest {
    private final AtomicInteger tries = new AtomicInteger();
    private final Worker worker = new Worker()
            .register("reserve", payload -> Map.of("reserved", payload))
            .register("charge", (payload, context) -> {
                if (context.attempt() == 1) {
                    context.heartbeat("half");
                    throw new IllegalStateException("the bank is closed");
                }
                return List.of(payload, context.details(), context.deadline().isPresent());
            })
            .register("later", (payload, context) -> {
                if (context.attempt() == 1) {
                    throw new RetryLaterException(Duration.ofHours(1));
                }
                return CompletableFuture.completedFuture(context.attempt());
            })
            .register("typed", Integer.class, number -> number + 1)
            .register("nan", payload -> Double.NaN)
            .register("bad", payload -> {
                tries.incrementAndGet();
                throw payload == null ? new NonRetryableException("never") : new IllegalArgumentException("no");
            });

    @Test
    void aRunGoesThroughItsStepsAndItsRetriesWithoutWaiting() {
        SimulatedRun test = SimulatedRun.of(worker, List.of("reserve", Map.of("action", "charge", "timeout", "5m")), 7);
        assertEquals("COMPLETED", test.run().status());
        assertEquals(
                "[{\"reserved\":7},\"half\",true]", test.run().finalOutput().toString());
        List<Attempt> attempts = test.run().steps().get(1).attempts();
        assertEquals(
                List.of("FAILED", "COMPLETED"),
                attempts.stream().map(Attempt::status).toList());
        assertEquals("IllegalStateException", attempts.get(0).error().type());
        assertEquals(Duration.ofSeconds(1), test.elapsed());
        assertEquals(2, test.run().stepResults().size());
        assertNull(test.deadLetter());
    }

    @Test
    void thePoliciesAreThoseOfTheDefinition() {
        Map<String, Object> retry = Map.of("maxRetries", 4, "backoff", "exponential", "delay", "10s", "maxDelay", "1m");
        SimulatedRun test = SimulatedRun.of(
                worker,
                Map.of("id", "order", "retry", retry, "steps", List.of(Map.of("action", "bad", "stepIndex", 3))),
                1,
                Instant.parse("2026-01-01T00:00:00Z"));
        assertEquals("FAILED", test.run().status());
        assertEquals(5, tries.get());
        assertEquals(Duration.ofSeconds(10 + 20 + 40 + 60), test.elapsed());
        assertEquals("order", test.deadLetter().workflowId());
        assertEquals(5, test.deadLetter().attempts());
        assertEquals("IllegalArgumentException", test.deadLetter().error().type());
        assertEquals(Instant.parse("2026-01-01T00:02:10Z"), test.run().endTime());
        Map<String, Object> never = Map.of("nonRetryable", List.of("IllegalArgumentException"));
        SimulatedRun once = SimulatedRun.of(worker, List.of(Map.of("action", "bad", "retry", never)), 1);
        assertEquals(1, once.deadLetter().attempts());
    }

    @Test
    void errorsMeanWhatTheyMeanToAWorker() {
        assertEquals(
                1, SimulatedRun.of(worker, List.of("bad"), null).deadLetter().attempts());
        SimulatedRun later = SimulatedRun.of(worker, List.of("later"), 1);
        assertEquals(Duration.ofHours(1), later.elapsed());
        assertEquals(2, later.run().finalOutput().asInt());
        assertEquals(
                "PayloadMismatch",
                SimulatedRun.of(worker, List.of("typed"), "x").run().error().type());
        assertEquals(
                "ResultNotSerializable",
                SimulatedRun.of(worker, List.of("nan"), 1).run().error().type());
    }

    @Test
    void whatCannotBeRunIsSaid() {
        WorkflowException error =
                assertThrows(WorkflowException.class, () -> SimulatedRun.of(worker, List.of("nobody"), 1));
        assertTrue(error.getMessage().contains("'nobody'"));
        assertThrows(IllegalArgumentException.class, () -> SimulatedRun.of(worker, List.of(), 1));
        Map<String, Object> step = Map.of("action", "nan", "stepIndex", 1);
        assertThrows(IllegalArgumentException.class, () -> SimulatedRun.of(worker, List.of(step, step), 1));
        assertThrows(IllegalArgumentException.class, () -> SimulatedRun.of(worker, List.of("nan"), Double.NaN));
    }
}
