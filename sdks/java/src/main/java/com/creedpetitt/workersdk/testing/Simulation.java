package com.creedpetitt.workersdk.testing;

import com.creedpetitt.workersdk.Worker;
import com.creedpetitt.workersdk.WorkflowException;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.json.NotJsonException;
import com.creedpetitt.workersdk.internal.work.Execution;
import com.creedpetitt.workersdk.internal.work.Failure;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.JobContext;
import com.creedpetitt.workersdk.internal.work.Outcomes;
import com.creedpetitt.workersdk.internal.work.RegisteredHandler;
import com.creedpetitt.workersdk.model.DeadLetter;
import com.creedpetitt.workersdk.model.Run;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import org.slf4j.LoggerFactory;

/** One run of a workflow in memory. */
final class Simulation {
    private static final int RESULT_BYTES_MAX = 2 * 1024 * 1024;
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final Worker worker;
    private final JsonNode definition;
    private final String workflowId;
    private final List<ObjectNode> steps;
    private final RetryPolicy policy;
    private final String runId = UUID.randomUUID().toString();
    private final Instant start;
    private Instant now;

    /** What came of an attempt: a result, or why there is none. */
    private record Attempt(JsonNode result, Failure failure) {}

    Simulation(Worker worker, Object given, Instant start) {
        this.worker = worker;
        JsonNode whole = tree(given);
        this.definition = whole.isArray() ? NODES.objectNode().set("steps", whole) : whole;
        this.workflowId = definition.path("id").asText("test");
        this.steps = sorted(definition.path("steps"));
        this.policy = RetryPolicy.USUAL.refined(definition.path("retry"));
        this.start = start;
        this.now = start;
        for (ObjectNode step : steps) {
            if (!worker.handlers().containsKey(step.get("action").asText())) {
                throw new WorkflowException(
                        "the worker has no handler for '" + step.get("action").asText() + "'");
            }
        }
    }

    SimulatedRun run(Object given) {
        JsonNode payload = tree(given);
        ObjectNode raw = NODES.objectNode()
                .put("runId", runId)
                .put("workflowId", workflowId)
                .put("workflowVersion", 1)
                .put("startTime", start.toString())
                .put("status", "COMPLETED");
        raw.set("input", payload);
        ArrayNode results = raw.putArray("stepResults");
        ArrayNode shown = raw.putArray("steps");
        for (ObjectNode step : steps) {
            shown.addObject()
                    .put("stepIndex", step.get("stepIndex").asInt())
                    .put("action", step.get("action").asText())
                    .put("status", "PENDING")
                    .putArray("attempts");
        }
        DeadLetter letter = null;
        for (int place = 0; place < steps.size() && letter == null; place++) {
            ObjectNode view = (ObjectNode) shown.get(place);
            raw.put("currentStep", view.get("stepIndex").asInt());
            Attempt last = runStep(steps.get(place), view, payload);
            if (last.failure == null) {
                payload = last.result;
                ObjectNode result = results.addObject().put("timestamp", now.toString());
                result.set("action", view.get("action"));
                result.set("stepIndex", view.get("stepIndex"));
                result.set("result", payload);
            } else {
                raw.put("status", "FAILED").set("error", write(last.failure));
                letter = deadLetter(view, payload, last.failure);
            }
        }
        if (letter == null) {
            raw.set("finalOutput", payload);
        }
        raw.put("endTime", now.toString());
        return new SimulatedRun(Run.of(raw), Duration.between(start, now), letter);
    }

    /** Returns what its last attempt came to. */
    private Attempt runStep(ObjectNode step, ObjectNode view, JsonNode payload) {
        RetryPolicy own = policy.refined(step.path("retry"));
        ArrayNode attempts = (ArrayNode) view.get("attempts");
        JsonNode details = NullNode.getInstance();
        while (true) {
            int number = attempts.size() + 1;
            Job job = job(step, number, payload, details);
            Attempt attempt = attempt(job);
            String status = attempt.failure == null ? "COMPLETED" : "FAILED";
            view.put("status", status);
            ObjectNode entry = attempts.addObject()
                    .put("attempt", number)
                    .put("status", status)
                    .put("worker", worker.workerId())
                    .put("scheduledAt", now.toString())
                    .put("startedAt", now.toString())
                    .put("finishedAt", now.toString());
            if (attempt.failure == null) {
                return attempt;
            }
            entry.set("error", write(attempt.failure));
            Double delay = own.nextDelay(attempt.failure, number);
            if (delay == null) {
                return attempt;
            }
            now = now.plusNanos((long) (delay * 1e9));
            details = job.details() == null ? details : read(job.details());
        }
    }

    /** Does what a worker does with one attempt. */
    private Attempt attempt(Job job) {
        RegisteredHandler handler = worker.handlers().get(job.action());
        Json json = worker.json();
        Object payload;
        try {
            payload = Execution.payloadOf(job, handler, json);
        } catch (IOException error) {
            return new Attempt(null, Failure.last(Outcomes.PAYLOAD_MISMATCH, String.valueOf(error.getMessage())));
        }
        try {
            JobContext context = new JobContext(job, json, LoggerFactory.getLogger("workersdk"));
            Object result = handler.call().handle(payload, context);
            if (result instanceof CompletionStage<?> stage) {
                result = stage.toCompletableFuture().get();
            }
            return new Attempt(read(Outcomes.writeResult(result, json, RESULT_BYTES_MAX)), null);
        } catch (Outcomes.ResultException error) {
            return new Attempt(null, error.failure());
        } catch (ExecutionException error) {
            return new Attempt(null, Outcomes.failureOf(error.getCause()));
        } catch (Exception error) {
            if (error instanceof InterruptedException) {
                Thread.currentThread().interrupt(); // it was meant for the test
            }
            return new Attempt(null, Outcomes.failureOf(error));
        }
    }

    private Job job(ObjectNode step, int attempt, JsonNode payload, JsonNode details) {
        ObjectNode raw = NODES.objectNode()
                .put("jobId", runId + ":" + step.get("stepIndex"))
                .put("attempt", attempt)
                .put("workflowRunId", runId)
                .put("workflowId", workflowId);
        raw.set("stepIndex", step.get("stepIndex"));
        raw.set("action", step.get("action"));
        raw.set("payload", payload);
        raw.set("details", details);
        JsonNode timeout = step.hasNonNull("timeout") ? step.get("timeout") : definition.path("stepTimeout");
        if (!timeout.isMissingNode() && !timeout.isNull()) {
            raw.put(
                    "deadline",
                    now.plusNanos((long) (Durations.seconds(timeout) * 1e9)).toString());
        }
        return new Job(raw, 0, 0, 1);
    }

    private DeadLetter deadLetter(ObjectNode view, JsonNode payload, Failure failure) {
        int number = view.get("attempts").size();
        ObjectNode raw = NODES.objectNode()
                .put("id", runId + ":" + view.get("stepIndex") + ":" + number)
                .put("runId", runId)
                .put("workflowId", workflowId)
                .put("attempts", number)
                .put("createdAt", now.toString());
        raw.set("stepIndex", view.get("stepIndex"));
        raw.set("action", view.get("action"));
        raw.set("payload", payload);
        raw.set("error", write(failure));
        return DeadLetter.of(raw);
    }

    private static ObjectNode write(Failure failure) {
        ObjectNode error = NODES.objectNode().put("type", failure.type()).put("message", failure.message());
        return failure.stack().isEmpty() ? error : error.put("stack", failure.stack());
    }

    private static List<ObjectNode> sorted(JsonNode given) {
        if (!given.isArray() || given.isEmpty()) {
            throw new IllegalArgumentException("the definition has no steps");
        }
        List<ObjectNode> steps = new ArrayList<>();
        Set<Integer> indexes = new HashSet<>();
        for (JsonNode one : given) {
            ObjectNode step = one.isTextual() ? NODES.objectNode().put("action", one.asText()) : one.deepCopy();
            if (!step.path("action").isTextual()) {
                throw new IllegalArgumentException("a step has no action: " + one);
            }
            if (!step.hasNonNull("stepIndex")) {
                step.put("stepIndex", steps.size());
            }
            if (!step.get("stepIndex").isInt() || step.get("stepIndex").asInt() < 0) {
                throw new IllegalArgumentException("a stepIndex is a whole number from 0 on: " + step);
            }
            if (!indexes.add(step.get("stepIndex").asInt())) {
                throw new IllegalArgumentException("two steps have the same stepIndex: " + step);
            }
            steps.add(step);
        }
        steps.sort(Comparator.comparingInt(step -> step.get("stepIndex").asInt()));
        return steps;
    }

    private JsonNode tree(Object value) {
        try {
            return read(worker.json().write(value));
        } catch (NotJsonException error) {
            throw new IllegalArgumentException(error.getMessage(), error);
        }
    }

    private static JsonNode read(byte[] text) {
        try {
            return Json.read(text);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
