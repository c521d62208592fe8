package com.creedpetitt.workersdk;

import static com.creedpetitt.workersdk.Gateway.attempt;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.reflect.Method;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.slf4j.MDC;

/** A worker over HTTP does jobs. */
class HttpWorkerTest extends HttpCase {
    private static final String TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    record Order(int id, BigDecimal price) {}

    @Test
    void theExampleOfTheContractWorks() {
        worker.register("step1", payload -> {
            return "Java processed: " + payload;
        });
        try (Running running = running()) {
            JsonNode result = gateway.resultOf(gateway.give("step1", "Hello World"));
            assertEquals("Java processed: Hello World", result.get("result").asText());
            assertFalse(result.has("status"));
        }
        JsonNode hello = gateway.registrations.get(0);
        assertEquals(worker.workerId(), hello.get("workerId").asText());
        assertEquals("[\"step1\"]", hello.get("actions").toString());
        assertEquals("workersdk-java", hello.get("sdk").asText());
        assertEquals(10, hello.get("concurrency").asInt());
        assertFalse(hello.has("lease"));
        assertEquals(List.of(worker.workerId()), gateway.left);
        assertTrue(lines.has("INFO worker " + worker.workerId() + " connected to " + gateway.url()
                + ", actions: step1, concurrency 10"));
        assertTrue(lines.has("INFO worker " + worker.workerId() + " has left " + gateway.url()));
    }

    /** The suite is run on Java 17, and this class on Java 21 as well. */
    @Test
    void aHandlerRunsOnAVirtualThreadWhereThereAreAny() {
        AtomicReference<Thread> thread = new AtomicReference<>();
        worker.register("look", payload -> {
            thread.set(Thread.currentThread());
            return null;
        });
        try (Running running = running()) {
            gateway.resultOf(gateway.give("look", null));
        }
        Optional<Method> isVirtual = Arrays.stream(Thread.class.getMethods())
                .filter(method -> method.getName().equals("isVirtual"))
                .findAny();
        assertEquals(Runtime.version().feature() >= 21, isVirtual.isPresent());
        assertEquals(isVirtual.isEmpty(), thread.get().getName().startsWith("workersdk-"));
        isVirtual.ifPresent(method -> assertEquals(true, assertDoesNotThrow(() -> method.invoke(thread.get()))));
    }

    @Test
    void payloadsAreWhatTheHandlerTakes() {
        worker.register("order", Order.class, (order, context) -> new Order(order.id() + 1, order.price()))
                .register(
                        "orders",
                        new TypeReference<List<Order>>() {},
                        (orders, context) -> orders.get(1).id())
                .register("node", JsonNode.class, node -> node)
                .register("any", (payload, context) -> payload);
        try (Running running = running()) {
            Map<String, Object> order = Map.of("id", 7, "price", new BigDecimal("1.10"), "more", true);
            JsonNode result = gateway.resultOf(gateway.give("order", order)).get("result");
            assertEquals("{\"id\":8,\"price\":1.10}", result.toString());
            assertEquals(
                    7,
                    gateway.resultOf(gateway.give("orders", List.of(Map.of("id", 1), order)))
                            .get("result")
                            .asInt());
            BigInteger large = BigInteger.TEN.pow(40);
            Map<String, Object> odd = Map.of("large", large, "text", "ä€😀\u0000", "exact", new BigDecimal("0.100"));
            assertEquals(
                    Gateway.tree(odd),
                    gateway.resultOf(gateway.give("node", odd)).get("result"));
            Map<String, Object> plain = Map.of("large", large, "list", List.of(1, 2.5, true, "x"), "long", 1L << 40);
            assertEquals(
                    Gateway.tree(plain),
                    gateway.resultOf(gateway.give("any", plain)).get("result"));
            assertTrue(gateway.resultOf(gateway.give("any", null)).get("result").isNull());
            JsonNode error = gateway.resultOf(gateway.give("order", "no order")).get("error");
            assertEquals("PayloadMismatch", error.get("type").asText());
            assertFalse(error.get("retryable").asBoolean());
        }
    }

    @Test
    void aMebibyteGoesThereAndBack() {
        worker.register("echo", payload -> payload);
        try (Running running = running()) {
            String large = "ä".repeat(512 * 1024);
            assertEquals(
                    large,
                    gateway.resultOf(gateway.give("echo", large)).get("result").asText());
        }
    }

    @Test
    void errorsSayWhatShallHappenNext() {
        worker.register("plain", payload -> {
                    throw new IllegalStateException("broken ä");
                })
                .register("last", payload -> {
                    throw new NonRetryableException("there is nothing to charge", "InvalidOrder");
                })
                .register("later", payload -> {
                    throw new RetryLaterException(Duration.ofMillis(90_500));
                });
        try (Running running = running()) {
            JsonNode plain = gateway.resultOf(gateway.give("plain", 1));
            assertEquals("failed", plain.get("status").asText());
            assertEquals("IllegalStateException", plain.at("/error/type").asText());
            assertEquals("broken ä", plain.at("/error/message").asText());
            assertFalse(plain.get("error").has("retryable"));
            String stack = plain.at("/error/stack").asText();
            assertTrue(stack.contains("HttpWorkerTest"), stack);
            assertFalse(stack.contains("workersdk.internal"), stack);
            JsonNode last = gateway.resultOf(gateway.give("last", 1)).get("error");
            assertEquals("InvalidOrder", last.get("type").asText());
            assertFalse(last.get("retryable").asBoolean());
            JsonNode later = gateway.resultOf(gateway.give("later", 1)).get("error");
            assertEquals(90.5, later.get("retryAfter").asDouble());
            JsonNode unknown = gateway.resultOf(gateway.give("nobody", 1)).get("error");
            assertEquals("ActionUnknown", unknown.get("type").asText());
        }
        assertTrue(lines.has("failed: IllegalStateException: broken ä"));
    }

    @Test
    void whatIsNotJsonFailsForGoodAndSaysWhere() {
        worker.register("nan", payload -> Map.of("items", List.of(1, Map.of("price", Double.NaN))))
                .register("object", payload -> Map.of("thing", new Object()))
                .register("large", payload -> "x".repeat(2 * 1024 * 1024));
        try (Running running = running()) {
            JsonNode nan = gateway.resultOf(gateway.give("nan", 1)).get("error");
            assertEquals("ResultNotSerializable", nan.get("type").asText());
            assertEquals(
                    "the result cannot be sent: $.items[1].price is NaN, which JSON cannot carry",
                    nan.get("message").asText());
            JsonNode object = gateway.resultOf(gateway.give("object", 1)).get("error");
            assertTrue(object.get("message").asText().contains("$.thing"), object.toString());
            JsonNode large = gateway.resultOf(gateway.give("large", 1)).get("error");
            assertEquals("ResultTooLarge", large.get("type").asText());
            assertFalse(large.get("retryable").asBoolean());
        }
    }

    @Test
    void aFutureIsWaitedForWithoutAThread() {
        CompletableFuture<Object> first = new CompletableFuture<>();
        CompletableFuture<Object> second = new CompletableFuture<>();
        worker.register("first", payload -> first).register("second", payload -> second);
        try (Running running = running()) {
            ObjectNode one = gateway.give("first", 1);
            ObjectNode two = gateway.give("second", 1);
            first.complete(Map.of("done", true));
            second.completeExceptionally(new NonRetryableException("no"));
            assertTrue(gateway.resultOf(one).at("/result/done").asBoolean());
            assertEquals(
                    "NonRetryableException",
                    gateway.resultOf(two).at("/error/type").asText());
        }
    }

    @Test
    void aFutureThatCannotBeCancelledGoesOnAndItsResultIsNotUsed() {
        CompletableFuture<Object> one = new CompletableFuture<>();
        worker.register("stubborn", payload -> one.minimalCompletionStage()).register("short", payload -> payload);
        try (Running running = running()) {
            ObjectNode job = gateway.give("stubborn", 1);
            gateway.until(() -> gateway.queue.isEmpty());
            gateway.change(() -> gateway.cancel.add(attempt(job)));
            gateway.until(() -> lines.has("stopping: its run was cancelled"));
            one.complete(1);
            gateway.resultOf(gateway.give("short", 1));
        }
        assertEquals(1, gateway.results.size());
    }

    @Test
    void theContextKnowsTheAttempt() {
        AtomicReference<Context> seen = new AtomicReference<>();
        AtomicReference<Map<String, String>> fields = new AtomicReference<>();
        worker.register("look", (payload, context) -> {
            seen.set(context);
            fields.set(MDC.getCopyOfContextMap());
            return null;
        });
        ObjectNode job = gateway.job("look", 1).put("attempt", 3).put("deadline", "2026-11-23T10:01:00.000000Z");
        job.putObject("details").put("done", 40);
        job.put("traceparent", TRACE).put("tracestate", "vendor=value");
        gateway.give(job);
        try (Running running = running()) {
            gateway.resultOf(job);
        }
        Context context = seen.get();
        assertEquals(job.get("jobId").asText(), context.jobId());
        assertEquals(3, context.attempt());
        assertEquals("run-1", context.runId());
        assertEquals("test", context.workflowId());
        assertEquals("look", context.action());
        assertEquals(0, context.stepIndex());
        assertEquals(1_795_428_060, context.deadline().orElseThrow().getEpochSecond());
        assertEquals(Map.of("done", 40), context.details());
        assertEquals(40, context.details(JsonNode.class).get("done").asInt());
        assertFalse(context.isCancelled());
        assertEquals(TRACE, context.traceparent().orElseThrow());
        assertEquals("vendor=value", context.tracestate().orElseThrow());
        assertEquals(Map.of("traceparent", TRACE, "tracestate", "vendor=value"), context.trace());
        assertEquals(TRACE, fields.get().get("traceparent"));
        assertEquals("run-1", fields.get().get("run"));
        assertEquals("3", fields.get().get("attempt"));
    }

    @Test
    void detailsGoWithTheHeartbeatAndWithTheFailure() {
        gateway.heartbeat = 0.05;
        CountDownLatch go = new CountDownLatch(1);
        worker.register("long", (payload, context) -> {
            context.heartbeat(Map.of("done", 1));
            go.await();
            context.heartbeat(Map.of("done", 2));
            assertThrows(IllegalArgumentException.class, () -> context.heartbeat("x".repeat(17_000)));
            throw new IllegalStateException();
        });
        try (Running running = running()) {
            ObjectNode job = gateway.give("long", 1);
            gateway.until(() -> gateway.heartbeats.stream()
                    .anyMatch(beat -> beat.at("/0/details/done").asInt() == 1));
            int count = gateway.heartbeats.size();
            gateway.until(() -> gateway.heartbeats.size() >= count + 2);
            assertEquals(job.get("jobId"), gateway.heartbeats.get(count).at("/0/jobId"));
            assertEquals(
                    1,
                    gateway.heartbeats.stream()
                            .filter(beat -> beat.get(0).has("details"))
                            .count(),
                    "said once");
            go.countDown();
            assertEquals(2, gateway.resultOf(job).at("/details/done").asInt());
        }
    }

    @Test
    void aJobWithAHeartbeatTimeoutIsNamedInTime() {
        CountDownLatch go = new CountDownLatch(1);
        worker.register("long", payload -> {
            go.await();
            return null;
        });
        try (Running running = running()) {
            ObjectNode job = gateway.job("long", 1).put("heartbeatTimeout", 0.3);
            gateway.give(job);
            gateway.until(() -> gateway.heartbeats.size() >= 2);
            go.countDown();
            gateway.resultOf(job);
        }
    }

    @Test
    void aCancelledJobIsInterruptedAndItsResultIsDropped() {
        CountDownLatch begun = new CountDownLatch(1);
        AtomicReference<Boolean> isCancelled = new AtomicReference<>();
        worker.register("long", (payload, context) -> {
            begun.countDown();
            try {
                new CountDownLatch(1).await();
            } catch (InterruptedException error) {
                isCancelled.set(context.isCancelled());
                throw error;
            }
            return null;
        });
        worker.register("short", payload -> payload);
        try (Running running = running()) {
            ObjectNode job = gateway.give("long", 1);
            gateway.until(() -> begun.getCount() == 0);
            gateway.change(() -> gateway.cancel.add(attempt(job)));
            gateway.until(() -> Boolean.TRUE.equals(isCancelled.get()));
            gateway.resultOf(gateway.give("short", 1));
            assertEquals(1, gateway.results.size());
        }
        assertTrue(lines.has("stopping: its run was cancelled or its attempt timed out"));
    }

    @Test
    void asManyJobsRunAtOnceAsThereArePlaces() {
        AtomicInteger most = new AtomicInteger();
        AtomicInteger now = new AtomicInteger();
        CountDownLatch go = new CountDownLatch(1);
        Worker small = worker().concurrency(3).build().register("work", payload -> {
            most.accumulateAndGet(now.incrementAndGet(), Math::max);
            go.await();
            now.decrementAndGet();
            return payload;
        });
        List<ObjectNode> jobs = new ArrayList<>();
        for (int number = 0; number < 10; number++) {
            jobs.add(gateway.give("work", number));
        }
        try (Running running = new Running(small, gateway.url())) {
            gateway.until(() -> now.get() == 3);
            go.countDown();
            jobs.forEach(gateway::resultOf);
        }
        assertEquals(3, most.get());
    }

    @Test
    void aJobThatRunsAloneGetsNoNeighbours() {
        CountDownLatch go = new CountDownLatch(1);
        worker.register("work", payload -> {
            go.await();
            return null;
        });
        worker.register("short", payload -> null);
        try (Running running = running()) {
            ObjectNode job = gateway.job("work", 1).put("alone", true);
            gateway.give(job);
            gateway.until(() -> gateway.queue.isEmpty());
            ObjectNode other = gateway.give("short", 1);
            go.countDown();
            gateway.resultOf(job);
            gateway.resultOf(other);
        }
        // The call that brought the suspect asked for ten; from then on nothing was asked for until it was done.
        JsonNode withResult = gateway.exchanges.stream()
                .filter(body -> body.has("results"))
                .findFirst()
                .orElseThrow();
        assertEquals(10, withResult.get("capacity").asInt());
        assertEquals(2, gateway.results.size());
    }

    @Test
    void settingsAreChecked() {
        assertThrows(IllegalArgumentException.class, () -> Worker.builder().concurrency(0));
        assertThrows(IllegalArgumentException.class, () -> Worker.builder().workerId("-x"));
        assertThrows(IllegalArgumentException.class, () -> Worker.builder().lease(Duration.ofMillis(10)));
        assertThrows(IllegalArgumentException.class, () -> Worker.builder().drainTimeout(Duration.ofSeconds(-1)));
        assertThrows(WorkflowException.class, () -> new Worker().start(gateway.url()));
        assertThrows(IllegalArgumentException.class, () -> worker.register("null", (Handler<Object>) null));
        worker.register("work", payload -> payload);
        assertThrows(IllegalArgumentException.class, () -> worker.register("work", payload -> payload));
        assertThrows(InvalidUrlException.class, () -> worker.start("ftp://there"));
    }
}
