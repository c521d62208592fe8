package com.creedpetitt.workersdk.conformance;

import com.creedpetitt.workersdk.Context;
import com.creedpetitt.workersdk.ContextHandler;
import com.creedpetitt.workersdk.NonRetryableException;
import com.creedpetitt.workersdk.RetryLaterException;
import com.creedpetitt.workersdk.Worker;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.Map;

/**
 * The worker that the conformance kit plays on.
 *
 * <p>What its handlers have to do is said in {@code protocol/conformance.md}.
 */
public final class ConformanceWorker {
    private static final String JOURNAL = System.getenv("CONFORMANCE_JOURNAL");

    private static final Map<String, ContextHandler<JsonNode>> HANDLERS = Map.of(
            "echo", ConformanceWorker::echo,
            "fail", ConformanceWorker::fail,
            "die", ConformanceWorker::die,
            "wait", ConformanceWorker::sleep,
            "progress", ConformanceWorker::progress);

    private ConformanceWorker() {}

    /** Works until told to leave. */
    public static void main(String[] args) {
        Worker worker = Worker.builder()
                .lease(seconds("CONFORMANCE_LEASE"))
                .drainTimeout(seconds("CONFORMANCE_DRAIN"))
                .build();
        String all = String.join(",", HANDLERS.keySet());
        for (String action :
                System.getenv().getOrDefault("CONFORMANCE_ACTIONS", all).split(",")) {
            worker.register(action, JsonNode.class, HANDLERS.get(action));
        }
        // A group of its own, as the contract's examples have it: jobs are done once all the same.
        worker.start(null, "group-" + ProcessHandle.current().pid());
    }

    private static Object echo(JsonNode payload, Context context) throws IOException {
        note("begin", context);
        return payload;
    }

    private static Object fail(JsonNode payload, Context context) throws IOException {
        note("begin", context);
        if (context.attempt() > payload.path("until").asInt()) {
            return context.attempt();
        }
        String message = payload.path("message").asText();
        if (!payload.path("retryable").asBoolean(true)) {
            throw new NonRetryableException(message, payload.path("type").asText());
        }
        if (payload.has("retryAfter")) {
            long millis = Math.round(payload.path("retryAfter").asDouble() * 1_000);
            throw new RetryLaterException(Duration.ofMillis(millis), message);
        }
        throw new IllegalStateException(message);
    }

    private static Object die(JsonNode payload, Context context) throws IOException {
        note("begin", context);
        if (context.attempt() <= payload.path("until").asInt()) {
            Runtime.getRuntime().halt(137);
        }
        return context.attempt();
    }

    private static Object sleep(JsonNode payload, Context context) throws IOException, InterruptedException {
        note("begin", context);
        try {
            Thread.sleep(Math.round(payload.path("seconds").asDouble() * 1_000));
        } catch (InterruptedException told) {
            note("stopped", context);
            throw told;
        }
        return "waited";
    }

    private static Object progress(JsonNode payload, Context context) throws IOException {
        note("begin", context);
        Object told = context.details();
        context.heartbeat(Map.of("attempt", context.attempt()));
        if (context.attempt() <= payload.path("until").asInt()) {
            throw new IllegalStateException("not yet");
        }
        return told;
    }

    private static void note(String what, Context context) throws IOException {
        if (JOURNAL == null) {
            return;
        }
        String line = String.join(
                        " ",
                        what,
                        context.action(),
                        context.jobId(),
                        Integer.toString(context.attempt()),
                        Long.toString(ProcessHandle.current().pid()))
                + "\n";
        Files.write(
                Path.of(JOURNAL),
                line.getBytes(StandardCharsets.UTF_8),
                StandardOpenOption.CREATE,
                StandardOpenOption.APPEND);
    }

    private static Duration seconds(String variable) {
        double seconds = Double.parseDouble(System.getenv().getOrDefault(variable, "30"));
        return Duration.ofMillis(Math.round(seconds * 1_000));
    }
}
