package com.creedpetitt.workersdk;

import static com.creedpetitt.workersdk.Gateway.attempt;
import static com.creedpetitt.workersdk.Gateway.problem;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

/** A worker over HTTP whose orchestrator is away, has forgotten it, or refuses. */
class HttpOutageTest extends HttpCase {
    @Test
    void aJobWhoseLeaseIsLostIsStopped() {
        gateway.heartbeat = 0.05;
        CompletableFuture<Object> never = new CompletableFuture<>();
        worker.register("long", payload -> never);
        try (Running running = running()) {
            ObjectNode job = gateway.give("long", 1);
            gateway.until(() -> !gateway.heartbeats.isEmpty());
            gateway.change(() -> gateway.unknown.add(attempt(job)));
            gateway.until(never::isCancelled);
        }
        assertTrue(gateway.results.isEmpty());
        assertTrue(lines.has("stopping: its lease is lost: another worker may have it"));
    }

    @Test
    void aJobThatNobodyHearsOfIsFencedAndGivenBackLater() {
        gateway.heartbeat = 0.05;
        gateway.lease = 0.2;
        CountDownLatch begun = new CountDownLatch(1);
        worker.register("long", payload -> {
            begun.countDown();
            new CountDownLatch(1).await();
            return null;
        });
        try (Running running = running()) {
            ObjectNode job = gateway.give("long", 1);
            gateway.until(() -> begun.getCount() == 0);
            gateway.down();
            gateway.until(() -> lines.has("stopping: the orchestrator could not be reached for longer than the lease"));
            gateway.up();
            assertEquals("released", gateway.resultOf(job).get("status").asText());
        }
        assertEquals(1, lines.count("WARN lost the orchestrator at " + gateway.url()));
        assertEquals(1, lines.count("INFO connected again to " + gateway.url()));
    }

    @Test
    void aWorkerThatIsForgottenRegistersAgain() {
        worker.register("short", payload -> payload);
        try (Running running = running()) {
            gateway.resultOf(gateway.give("short", 1));
            gateway.change(gateway.workers::clear); // the call that waits is told
            gateway.resultOf(gateway.give("short", 2));
        }
        assertEquals(2, gateway.registrations.size());
    }

    @Test
    void aRestartOfTheOrchestratorLosesNothing() {
        CountDownLatch begun = new CountDownLatch(1);
        CountDownLatch go = new CountDownLatch(1);
        worker.register("work", payload -> {
            begun.countDown();
            go.await();
            return payload;
        });
        try (Running running = running()) {
            ObjectNode job = gateway.give("work", 1);
            gateway.until(() -> begun.getCount() == 0);
            gateway.down();
            gateway.workers.clear();
            go.countDown();
            gateway.up();
            assertEquals(1, gateway.resultOf(job).get("result").asInt());
            gateway.until(() -> gateway.registrations.size() == 2);
        }
        assertTrue(lines.has("does not know this worker: registering again"));
    }

    @Test
    void aLostAnswerMakesTheResultGoTwice() {
        gateway.answersToLose = 1;
        worker.register("work", payload -> payload);
        try (Running running = running()) {
            gateway.resultOf(gateway.give("work", 1));
            gateway.until(() -> gateway.rejected.size() == 1);
            gateway.until(() -> lines.has("DEBUG the result of job run-1:0 attempt 1 was not used: it is there"));
        }
        assertEquals(1, gateway.results.size());
    }

    @Test
    void resultsThatAreTooManyForACallGoInParts() {
        gateway.resultsMax = 1;
        CountDownLatch go = new CountDownLatch(1);
        worker.register("work", payload -> {
            go.await();
            return payload;
        });
        List<ObjectNode> jobs = new ArrayList<>();
        for (int number = 0; number < 5; number++) {
            jobs.add(gateway.job("work", number));
        }
        gateway.give(jobs.toArray(ObjectNode[]::new));
        try (Running running = running()) {
            gateway.until(() -> gateway.queue.isEmpty());
            go.countDown();
            jobs.forEach(gateway::resultOf);
        }
    }

    @Test
    void aResultThatIsRefusedBecomesAFailure() {
        worker.register("work", payload -> payload);
        try (Running running = running()) {
            gateway.instead.add(problem(422, "result-invalid"));
            ObjectNode job = gateway.give("work", 1);
            assertEquals(
                    "ResultRefused", gateway.resultOf(job).at("/error/type").asText());
        }
    }

    @Test
    void aServerThatIsBusyIsAskedAgain() {
        worker.register("work", payload -> payload);
        gateway.refusals.add(problem(503, "not-ready"));
        gateway.refusals.add(problem(429, "too-many"));
        gateway.instead.add(problem(503, "not-ready"));
        gateway.instead.add(new Gateway.Answer(200, "no JSON"));
        try (Running running = running()) {
            gateway.resultOf(gateway.give("work", 1));
        }
    }

    @Test
    void aRefusedRegistrationIsAnError() {
        worker.register("work", payload -> payload);
        gateway.refusals.add(problem(422, "invalid"));
        RegistrationException error =
                assertThrows(RegistrationException.class, () -> running().ends());
        assertEquals(gateway.url() + " refused this worker (422 No): because", error.getMessage());
        assertEquals(422, error.status());
        assertEquals(gateway.url(), error.url());
        assertEquals("No", error.title());
        assertEquals("because", error.detail());
    }
}
