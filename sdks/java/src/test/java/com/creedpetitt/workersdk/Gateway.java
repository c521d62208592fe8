package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.internal.json.Json;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.BooleanSupplier;

/** A small orchestrator for tests: the worker protocol of docs/worker-protocol.md, and ways to misbehave. */
final class Gateway implements AutoCloseable {
    private static final Duration WAIT_MAX = Duration.ofSeconds(8);

    /** An answer: a status and a JSON body. */
    record Answer(int status, String body) {}

    final Deque<ObjectNode> queue = new ArrayDeque<>();
    final Map<String, JsonNode> workers = new LinkedHashMap<>();
    final List<JsonNode> registrations = new ArrayList<>();
    final List<JsonNode> exchanges = new ArrayList<>();
    final List<JsonNode> heartbeats = new ArrayList<>();
    final List<JsonNode> results = new ArrayList<>();
    final List<JsonNode> rejected = new ArrayList<>();
    final List<String> left = new ArrayList<>();

    /** What registrations, exchanges that carry results, and heartbeats answer instead, once each. */
    final Deque<Answer> refusals = new ArrayDeque<>();

    final Deque<Answer> instead = new ArrayDeque<>();
    final Deque<Answer> insteadOfPulses = new ArrayDeque<>();
    final List<JsonNode> cancel = new ArrayList<>();
    final List<JsonNode> unknown = new ArrayList<>();
    double heartbeat = 10;
    double lease = 30;
    int resultsMax = 1_000;
    int answersToLose;
    boolean isDraining;

    private final Set<String> recorded = new HashSet<>();
    private final Map<String, ObjectNode> inHand = new LinkedHashMap<>();
    private ExecutorService threads;
    private HttpServer server;
    private int port;
    private int made;
    private boolean isUp;

    Gateway() {
        up();
    }

    String url() {
        return "http://127.0.0.1:" + port;
    }

    // ------------------------------------------------------------ up and down

    void up() {
        try {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        port = server.getAddress().getPort();
        isUp = true;
        threads = Executors.newCachedThreadPool();
        server.setExecutor(threads);
        server.createContext("/workers", this::serve);
        server.start();
    }

    void down() {
        change(() -> isUp = false);
        server.stop(0);
        threads.shutdownNow();
    }

    @Override
    public void close() {
        down();
    }

    // ------------------------------------------------------------ what tests say and see

    ObjectNode job(String action, Object payload) {
        ObjectNode job = JsonNodeFactory.instance.objectNode();
        job.put("jobId", "run-" + ++made + ":0")
                .put("attempt", 1)
                .put("workflowRunId", "run-" + made)
                .put("workflowId", "test")
                .put("stepIndex", 0)
                .put("action", action);
        job.set("payload", tree(payload));
        return job.put("lease", lease);
    }

    static JsonNode tree(Object value) {
        try {
            return Json.read(Json.writeKnown(value));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    ObjectNode give(String action, Object payload) {
        ObjectNode job = job(action, payload);
        give(job);
        return job;
    }

    void give(ObjectNode... jobs) {
        change(() -> queue.addAll(List.of(jobs)));
    }

    static ObjectNode attempt(JsonNode job) {
        ObjectNode reference = JsonNodeFactory.instance.objectNode();
        reference.set("jobId", job.get("jobId"));
        reference.set("attempt", job.get("attempt"));
        return reference;
    }

    synchronized void change(Runnable change) {
        change.run();
        notifyAll();
    }

    /** Returns when a condition holds; fails when it does not in time. */
    synchronized void until(BooleanSupplier condition) {
        long end = System.nanoTime() + WAIT_MAX.toNanos();
        while (!condition.getAsBoolean()) {
            long left = (end - System.nanoTime()) / 1_000_000;
            if (left <= 0) {
                throw new AssertionError("the condition did not come true");
            }
            try {
                wait(Math.min(left, 20)); // a condition may be about something else than this object
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            }
        }
    }

    JsonNode resultOf(JsonNode job) {
        until(() -> find(job) != null);
        return find(job);
    }

    private JsonNode find(JsonNode job) {
        return results.stream()
                .filter(result -> result.get("jobId").equals(job.get("jobId"))
                        && result.get("attempt").equals(job.get("attempt")))
                .findFirst()
                .orElse(null);
    }

    // ------------------------------------------------------------ the protocol

    private void serve(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] text = exchange.getRequestBody().readAllBytes();
            JsonNode body = text.length == 0 ? JsonNodeFactory.instance.objectNode() : Json.read(text);
            String[] parts = exchange.getRequestURI().getPath().split("/");
            String worker = parts.length > 2 ? parts[2] : "";
            Answer answer;
            if (exchange.getRequestMethod().equals("DELETE")) {
                answer = leave(worker);
            } else if (parts.length == 2) {
                answer = register(body);
            } else if (!isKnown(worker)) {
                answer = problem(404, "worker-not-found");
            } else {
                answer = parts[3].equals("exchange") ? exchange(worker, body) : heartbeat(body);
            }
            if (answer == null) {
                return; // without an answer
            }
            byte[] bytes = answer.body.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(answer.status, answer.status == 204 ? -1 : bytes.length);
            if (answer.status != 204) {
                exchange.getResponseBody().write(bytes);
            }
        }
    }

    static Answer problem(int status, String code) {
        return new Answer(
                status,
                "{\"title\":\"No\",\"status\":" + status + ",\"code\":\"" + code + "\",\"detail\":\"because\"}");
    }

    private synchronized boolean isKnown(String worker) {
        return workers.containsKey(worker);
    }

    private synchronized Answer register(JsonNode body) {
        if (!refusals.isEmpty()) {
            return refusals.poll();
        }
        registrations.add(body);
        workers.put(body.get("workerId").asText(), body);
        notifyAll();
        return new Answer(
                200,
                "{\"lease\":" + lease + ",\"heartbeat\":" + heartbeat + ",\"waitMax\":60,\"capacityMax\":1000,"
                        + "\"resultBytesMax\":2097152,\"requestBytesMax\":16777216,\"new\":true}");
    }

    private synchronized Answer exchange(String worker, JsonNode body) {
        exchanges.add(body);
        if (!instead.isEmpty() && !body.path("results").isEmpty()) {
            return instead.poll();
        }
        if (body.path("results").size() > resultsMax) {
            return problem(413, "too-large");
        }
        List<JsonNode> refused = new ArrayList<>();
        for (JsonNode result : body.path("results")) {
            inHand.remove(result.get("jobId").asText());
            if (recorded.add(result.get("jobId").asText() + "/" + result.get("attempt"))) {
                results.add(result);
            } else {
                refused.add(attempt(result).put("code", "already-recorded").put("reason", "it is there"));
            }
        }
        rejected.addAll(refused);
        notifyAll();
        if (body.path("results").size() > 0 && answersToLose > 0) {
            answersToLose--;
            return null;
        }
        waitForSomething(
                worker, body.path("wait").asDouble(), body.path("capacity").asInt());
        if (!isKnown(worker)) {
            return problem(404, "worker-not-found");
        }
        return isUp ? take(body.path("capacity").asInt(), refused) : null;
    }

    private void waitForSomething(String worker, double seconds, int capacity) {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        while (isUp && isKnown(worker) && (queue.isEmpty() || capacity == 0) && cancel.isEmpty() && !isDraining) {
            long left = (end - System.nanoTime()) / 1_000_000;
            if (left <= 0) {
                return;
            }
            try {
                wait(left);
            } catch (InterruptedException error) {
                return;
            }
        }
    }

    private Answer take(int capacity, List<JsonNode> refused) {
        ObjectNode answer = JsonNodeFactory.instance.objectNode();
        List<JsonNode> jobs = new ArrayList<>();
        while (jobs.size() < capacity && !queue.isEmpty()) {
            ObjectNode job = queue.poll();
            inHand.put(job.get("jobId").asText(), job);
            jobs.add(job);
        }
        putUnlessEmpty(answer, "jobs", jobs);
        putUnlessEmpty(answer, "rejected", refused);
        putUnlessEmpty(answer, "cancelled", cancel);
        cancel.clear();
        if (isDraining) {
            answer.put("draining", true);
        }
        return new Answer(200, answer.toString());
    }

    private static void putUnlessEmpty(ObjectNode answer, String name, List<JsonNode> values) {
        if (!values.isEmpty()) {
            answer.putArray(name).addAll(values);
        }
    }

    private synchronized Answer heartbeat(JsonNode body) {
        if (!insteadOfPulses.isEmpty()) {
            return insteadOfPulses.poll();
        }
        heartbeats.add(body.get("inFlight"));
        ObjectNode pulse = JsonNodeFactory.instance.objectNode();
        putUnlessEmpty(pulse, "unknown", unknown);
        unknown.clear();
        notifyAll();
        return new Answer(200, pulse.toString());
    }

    private synchronized Answer leave(String worker) {
        if (workers.remove(worker) == null) {
            return problem(404, "worker-not-found");
        }
        left.add(worker);
        queue.addAll(inHand.values());
        inHand.clear();
        notifyAll();
        return new Answer(204, "");
    }
}
