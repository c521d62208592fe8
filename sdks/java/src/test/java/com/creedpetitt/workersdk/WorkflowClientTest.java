package com.creedpetitt.workersdk;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.model.Run;
import com.creedpetitt.workersdk.model.RunQuery;
import com.fasterxml.jackson.databind.JsonNode;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The client, against answers that are laid out beforehand. */
class WorkflowClientTest {
    private record Request(String method, String target, String body, Map<String, String> headers) {}

    private record Answer(int status, String body, Map<String, String> headers) {}

    private final List<Request> requests = Collections.synchronizedList(new ArrayList<>());
    private final List<Answer> answers = Collections.synchronizedList(new ArrayList<>());
    private HttpServer server;
    private WorkflowClient client;

    @BeforeEach
    void listen() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", exchange -> {
            try (exchange) {
                Map<String, String> headers = new HashMap<>();
                exchange.getRequestHeaders().forEach((name, values) -> headers.put(name.toLowerCase(), values.get(0)));
                String body = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
                String target = exchange.getRequestURI().toString();
                requests.add(new Request(exchange.getRequestMethod(), target, body, headers));
                Answer answer = answers.remove(0);
                byte[] bytes = answer.body.getBytes(StandardCharsets.UTF_8);
                answer.headers.forEach(
                        (name, value) -> exchange.getResponseHeaders().set(name, value));
                exchange.sendResponseHeaders(answer.status, bytes.length == 0 ? -1 : bytes.length);
                exchange.getResponseBody().write(bytes);
            }
        });
        server.start();
        client = new WorkflowClient(url());
    }

    private String url() {
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    @AfterEach
    void close() {
        server.stop(0);
    }

    private void answer(int status, String body) {
        answers.add(new Answer(status, body, Map.of()));
    }

    private static JsonNode read(String text) throws IOException {
        return Json.read(text.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void aWorkflowIsDefinedByItsStepsOrAsAWhole() throws IOException {
        answer(200, "{\"id\":\"order\",\"version\":3,\"steps\":[{\"action\":\"a\"}],\"new\":1}");
        var workflow = client.define("order", List.of("a", Map.of("action", "b", "timeout", "30s")));
        assertEquals(3, workflow.version());
        assertEquals(1, workflow.raw().get("new").asInt());
        assertEquals(
                read("{\"id\":\"order\",\"steps\":[{\"action\":\"a\"},{\"action\":\"b\",\"timeout\":\"30s\"}]}"),
                read(requests.get(0).body));
        answer(200, "{\"id\":\"order\",\"version\":3}");
        client.define(Map.of("id", "order", "steps", List.of(Map.of("action", "a"))));
        assertEquals("/workflow/", requests.get(1).target);
    }

    @Test
    void aRunIsStartedOnceWhateverHappensToTheAnswer() {
        answer(503, "{}");
        answer(200, "{\"runId\":\"r-1\"}");
        assertEquals("r-1", client.trigger("my order", Map.of("id", 7)));
        assertEquals("/workflow/my%20order/trigger", requests.get(0).target);
        assertEquals("{\"input\":{\"id\":7}}", requests.get(0).body);
        String key = requests.get(0).headers.get("idempotency-key");
        assertEquals(key, requests.get(1).headers.get("idempotency-key"));
        answer(200, "{\"runId\":\"r-2\"}");
        client.trigger("order", null, "order-7");
        assertEquals("order-7", requests.get(2).headers.get("idempotency-key"));
        assertEquals("{\"input\":null}", requests.get(2).body);
    }

    @Test
    void aRunBelongsToTheTraceThatItIsTriggeredIn() {
        answer(200, "{\"runId\":\"r-1\"}");
        client.trigger("order", 1, null, Map.of("traceparent", "00-1-2-01", "tracestate", "a=b", "baggage", "x"));
        Map<String, String> headers = requests.get(0).headers;
        assertEquals("00-1-2-01", headers.get("traceparent"));
        assertEquals("a=b", headers.get("tracestate"));
        assertFalse(headers.containsKey("baggage"));
        assertEquals(36, headers.get("idempotency-key").length());
        answer(200, "{\"runId\":\"r-2\"}");
        client.trigger("order", 1, "key", Map.of("tracestate", ""));
        assertFalse(requests.get(1).headers.containsKey("tracestate"));
    }

    @Test
    void aRunIsWaitedFor() {
        answer(200, "{\"runId\":\"r\",\"status\":\"RUNNING\"}");
        answer(
                200,
                "{\"runId\":\"r\",\"workflowId\":\"order\",\"status\":\"COMPLETED\",\"finalOutput\":[1],"
                        + "\"startTime\":\"2026-11-23T10:00:00.000000Z\",\"steps\":[{\"stepIndex\":0,\"action\":\"a\","
                        + "\"status\":\"COMPLETED\",\"attempts\":[{\"attempt\":1,\"status\":\"COMPLETED\"}]}]}");
        Run run = client.await("r");
        assertTrue(run.isEnded());
        assertEquals("[1]", run.finalOutput().toString());
        assertEquals("COMPLETED", run.steps().get(0).attempts().get(0).status());
        assertEquals(1_795_428_000, run.startTime().getEpochSecond());
        assertEquals("/workflow/run/r?wait=30.000", requests.get(0).target);
        answer(200, "{\"runId\":\"r\",\"status\":\"RUNNING\",\"waitingFor\":\"a worker\"}");
        WaitTimeoutException error = assertThrows(WaitTimeoutException.class, () -> client.await("r", Duration.ZERO));
        assertEquals("run r is RUNNING after 0.0 s: a worker", error.getMessage());
        assertEquals(Duration.ZERO, error.timeout());
        answer(200, "{\"runId\":\"r\"}");
        answer(
                200,
                "{\"runId\":\"r\",\"workflowId\":\"w\",\"status\":\"FAILED\",\"error\":{\"type\":\"T\",\"message\":\"m\"}}");
        RunFailedException failure =
                assertThrows(RunFailedException.class, () -> client.run("w", 1, Duration.ofSeconds(5)));
        assertEquals("run r of w is FAILED: T: m", failure.getMessage());
    }

    @Test
    void listsAreFollowedPageByPage() {
        answers.add(new Answer(
                200,
                "[{\"runId\":\"1\"},{\"runId\":\"2\"}]",
                Map.of("Link", "</workflow/runs?status=FAILED&cursor=x>; rel=\"next\"")));
        answer(200, "[{\"runId\":\"3\"}]");
        List<String> ids = client.list(
                        RunQuery.all().status("FAILED", "CANCELLED").workflow("a b"))
                .map(Run::runId)
                .toList();
        assertEquals(List.of("1", "2", "3"), ids);
        assertTrue(requests.get(0).target.contains("status=FAILED&status=CANCELLED"));
        assertTrue(requests.get(0).target.contains("workflow=a%20b"));
        assertEquals("/workflow/runs?status=FAILED&cursor=x", requests.get(1).target);
        answer(200, "[{\"runId\":\"1\"},{\"runId\":\"2\"}]");
        assertEquals(1, client.list(RunQuery.all().limit(1)).count());
        answer(200, "[{\"seq\":4,\"type\":\"StepQueued\",\"stepIndex\":1}]");
        assertEquals(1, client.events("r", 3).get(0).stepIndex());
        assertEquals("/workflow/run/r/events?after=3", requests.get(3).target);
        answer(200, "[{\"workerId\":\"w\",\"status\":\"CONNECTED\",\"actions\":[\"a\"]}]");
        assertEquals(List.of("a"), client.workers().get(0).actions());
        answer(200, "[{\"id\":\"d\",\"attempts\":4}]");
        assertEquals(4, client.deadLetters(null, "a", 5).get(0).attempts());
    }

    @Test
    void errorsAreTyped() {
        answer(
                422,
                "{\"title\":\"Invalid\",\"code\":\"definition-invalid\",\"detail\":\"see below\","
                        + "\"errors\":[{\"field\":\"steps\",\"reason\":\"is empty\",\"mend\":\"give one\"}]}");
        ApiException invalid = assertThrows(ApiException.class, () -> client.define("a", List.of()));
        assertEquals("422 Invalid (definition-invalid): see below\n  steps: is empty (give one)", invalid.getMessage());
        assertEquals("is empty", invalid.errors().get(0).get("reason"));
        answer(404, "{\"title\":\"No such run\",\"code\":\"run-not-found\"}");
        assertThrows(NotFoundException.class, () -> client.get("x"));
        answer(409, "{\"title\":\"Ended\"}");
        assertThrows(ConflictException.class, () -> client.cancel("x", "why"));
        assertEquals("{\"reason\":\"why\"}", requests.get(2).body);
        answer(502, "<html>");
        assertThrows(ApiException.class, () -> client.redrive("d"), "not made twice");
        answer(204, "");
        client.discard("d");
        assertEquals("DELETE", requests.get(4).method);
        assertEquals(5, requests.size());
    }

    @Test
    void whoIsNotThereIsNamedWithoutThePassword() {
        server.stop(0);
        WorkflowClient lost = new WorkflowClient(url().replace("http://", "http://me:secret@") + "/prefix/");
        assertEquals("<WorkflowClient " + url() + "/prefix>", lost.toString());
        ConnectionFailedException error = assertThrows(ConnectionFailedException.class, () -> lost.get("x"));
        assertTrue(error.getMessage().contains(url() + "/prefix (connection refused)"), error.getMessage());
        assertFalse(error.getMessage().contains("secret"));
        assertEquals(url() + "/prefix", error.url());
        assertEquals("connection refused", error.reason());
        assertThrows(InvalidUrlException.class, () -> new WorkflowClient("kafka:9092"));
    }

    @Test
    void theAddressMayHaveAPasswordAndAPath() {
        answer(200, "{\"runId\":\"r\"}");
        new WorkflowClient(url().replace("http://", "http://me:s%40cret@") + "/prefix/").get("r");
        assertEquals("/prefix/workflow/run/r", requests.get(0).target);
        String pair = Base64.getEncoder().encodeToString("me:s@cret".getBytes(StandardCharsets.UTF_8));
        assertEquals("Basic " + pair, requests.get(0).headers.get("authorization"));
    }
}
