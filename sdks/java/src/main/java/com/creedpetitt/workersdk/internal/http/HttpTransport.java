package com.creedpetitt.workersdk.internal.http;

import com.creedpetitt.workersdk.internal.http.Http.Response;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * The worker protocol over HTTP: docs/worker-protocol.md, call by call. Answers are objects of the protocol as they came;
 * futures fail with a {@link TransportException}, or with a CancellationException once they are cancelled.
 *
 * <p>Nothing is tried again here: all calls may be repeated, and the worker does that.
 */
final class HttpTransport {
    private static final double CALL_TIMEOUT_S = 10;
    private static final double EXCHANGE_TIMEOUT_S = 30;
    private static final Set<Integer> PASSING_STATUSES = Set.of(408, 425, 429);
    private static final int NOT_FOUND = 404;
    private static final int PAYLOAD_TOO_LARGE = 413;

    private final Http http;
    private volatile String worker = "/workers";
    private volatile long payloadBytesMax = Terms.USUAL.resultBytesMax();

    HttpTransport(Http http) {
        this.http = http;
    }

    String address() {
        return http.address();
    }

    /** Makes the worker known; the same id again replaces the registration and keeps its jobs. */
    CompletableFuture<Terms> register(Hello hello) {
        worker = "/workers/" + Http.part(hello.workerId());
        return call("POST", "/workers", Bodies.registration(hello), CALL_TIMEOUT_S, 0)
                .thenApply(answer -> {
                    Terms terms = Terms.of(answer);
                    payloadBytesMax = terms.resultBytesMax();
                    return terms;
                });
    }

    /**
     * Reports results and takes up to {@code capacity} jobs, waiting up to {@code wait} seconds for the first.
     *
     * <p>The results are durable when there is an answer. When it fails or is cancelled, they may or may not be: sending
     * them again is safe.
     */
    CompletableFuture<JsonNode> exchange(List<Outcome> results, int capacity, double wait) {
        // A payload was an input or a result: as many of the largest as are asked for have to be taken.
        long moreBytes = capacity * payloadBytesMax;
        byte[] body = Bodies.exchange(results, capacity, wait);
        return call("POST", worker + "/exchange", body, wait + EXCHANGE_TIMEOUT_S, moreBytes);
    }

    /** Says which jobs are in hand. */
    CompletableFuture<JsonNode> heartbeat(List<byte[]> inFlight) {
        return call("POST", worker + "/heartbeat", Bodies.heartbeat(inFlight), CALL_TIMEOUT_S, 0);
    }

    /** Ends the registration; the orchestrator takes back what is still in this worker's hands. */
    CompletableFuture<JsonNode> leave(double timeout) {
        return call("DELETE", worker, null, timeout, 0);
    }

    private CompletableFuture<JsonNode> call(
            String method, String target, byte[] body, double timeout, long moreBytes) {
        CompletableFuture<Response> sent = http.request(method, target, body, timeout, Map.of(), true, moreBytes);
        CompletableFuture<JsonNode> answer = sent.handle((response, error) -> {
            if (error instanceof CancellationException cancelled) {
                throw cancelled;
            }
            try {
                if (error != null) {
                    throw new TransportException.Unavailable(
                            Http.explained(error).getMessage());
                }
                return read(response);
            } catch (TransportException failed) {
                throw new CompletionException(failed);
            }
        });
        answer.whenComplete((value, error) -> {
            if (answer.isCancelled()) {
                sent.cancel(true);
            }
        });
        return answer;
    }

    private static JsonNode read(Response response) throws TransportException {
        if (response.status() < 200 || response.status() >= 300) {
            throw errorFor(response);
        }
        if (response.body().length == 0) {
            return JsonNodeFactory.instance.objectNode();
        }
        JsonNode answer;
        try {
            answer = Json.read(response.body());
        } catch (IOException error) {
            throw new TransportException.Unavailable("the answer is not JSON: " + error.getMessage());
        }
        if (!answer.isObject()) {
            throw new TransportException.Unavailable("the answer is not a JSON object");
        }
        return answer;
    }

    private static TransportException errorFor(Response response) {
        JsonNode problem = Json.readProblem(response.body());
        String title = problem.path("title").asText("no reason given");
        StringBuilder detail = new StringBuilder(problem.path("detail").asText(""));
        for (JsonNode error : problem.path("errors")) {
            detail.append(detail.length() == 0 ? "" : "; ");
            detail.append(error.path("field").asText(""))
                    .append(": ")
                    .append(error.path("reason").asText(""));
        }
        int status = response.status();
        String shown = detail.length() == 0 ? title : detail.toString();
        if (status == NOT_FOUND
                && "worker-not-found".equals(problem.path("code").asText())) {
            return new TransportException.WorkerUnknown(shown);
        }
        if (status == PAYLOAD_TOO_LARGE) {
            return new TransportException.TooLarge(shown);
        }
        if (status >= 500 || status < 400 || PASSING_STATUSES.contains(status)) {
            return new TransportException.Unavailable(
                    status + " " + title + (detail.length() == 0 ? "" : ": " + detail));
        }
        return new TransportException.Refused(status, title, detail.toString());
    }
}
