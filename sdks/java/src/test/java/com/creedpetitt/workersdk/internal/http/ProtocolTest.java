package com.creedpetitt.workersdk.internal.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.Examples;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Failure;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.creedpetitt.workersdk.internal.work.Outcomes;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The bodies of this SDK are those of {@code protocol/examples}: byte for byte where it writes, whole where it reads. */
class ProtocolTest {
    private static final String RUN = "01a22d1d-0dab-7cea-808a-29457981d4fc";

    private static void check(String name, byte[] body) {
        assertEquals(
                new String(Examples.ofBody(name), StandardCharsets.UTF_8), new String(body, StandardCharsets.UTF_8));
    }

    private static Job job(int step, int attempt) {
        ObjectNode raw = JsonNodeFactory.instance.objectNode();
        return new Job(raw.put("jobId", RUN + ":" + step).put("attempt", attempt), 0, 0, 30);
    }

    private static Job halfway() {
        Job job = job(3, 2);
        job.details("{\"done\":60}".getBytes(StandardCharsets.UTF_8));
        return job;
    }

    @Test
    void aWorkerSaysWhoItIs() {
        List<String> actions = List.of("step1", "write-letter");
        Hello hello = new Hello("w-box-8287-bf6787", actions, "workersdk-python", "0.1.0", "box", 8287, 10, null);
        check("register", Bodies.registration(hello));
    }

    @Test
    void itKeepsToWhatItIsTold() throws IOException {
        assertEquals(Terms.USUAL, Terms.of(Json.read(Examples.ofBody("registered"))));
        JsonNode other = Json.read("{\"lease\":2.5,\"capacityMax\":3}".getBytes(StandardCharsets.UTF_8));
        assertEquals(new Terms(2.5, 10, 60, 3, 2 * 1024 * 1024, 16 * 1024 * 1024), Terms.of(other));
    }

    @Test
    void jobsAreAskedForAndResultsAreBrought() {
        check("exchange-first", Bodies.exchange(List.of(), 10, 20));
        Failure failure = new Failure("ConnectionError", "the ledger is closed", "", true, 2.5);
        List<Outcome> results = List.of(
                Outcomes.completed(job(0, 1), "Processed: Hello World", Json.usual(), 1_000),
                Outcomes.failed(job(1, 1), failure),
                Outcomes.released(halfway()));
        check("exchange-results", Bodies.exchange(results, 2, 0));
    }

    @Test
    void jobsAreReadWithAllThatTheySay() throws IOException {
        JsonNode jobs = Json.read(Examples.ofBody("exchange-answer")).get("jobs");
        Job first = new Job(jobs.get(0), 0, 0, 10);
        assertEquals(30, first.lease());
        assertEquals("Hello World", first.raw().get("payload").asText());
        assertEquals(Map.of(), first.trace());
        Job again = new Job(jobs.get(1), 0, 0, 10);
        assertEquals(RUN + ":3", again.id());
        assertEquals(2, again.attempt());
        assertEquals(2.5, again.lease());
        assertEquals(2.5, again.heartbeatTimeout());
        assertTrue(again.isAlone());
        assertEquals("vendor=value", again.trace().get("tracestate"));
        assertEquals(
                Map.of("done", IntNode.valueOf(40)), Map.of("done", again.raw().at("/details/done")));
    }

    @Test
    void whatIsInHandIsNamed() {
        Job job = halfway();
        check("heartbeat", Bodies.heartbeat(List.of(job.inFlight(job.details()))));
    }
}
