package com.creedpetitt.workersdk;

import com.creedpetitt.workersdk.internal.Address;
import com.creedpetitt.workersdk.internal.http.Http;
import com.creedpetitt.workersdk.internal.http.Rest;
import com.creedpetitt.workersdk.internal.http.Rest.Call;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.json.NotJsonException;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.model.DeadLetter;
import com.creedpetitt.workersdk.model.Event;
import com.creedpetitt.workersdk.model.Run;
import com.creedpetitt.workersdk.model.RunQuery;
import com.creedpetitt.workersdk.model.WorkerInfo;
import com.creedpetitt.workersdk.model.Workflow;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.stream.Stream;

/**
 * Speaks to an orchestrator over its REST API: defines workflows, starts runs, waits for them, looks after them.
 *
 * <p>Calls that may be repeated are tried a few times when there is no answer or a 503; starting a run is one of them,
 * because it always carries an idempotency key. Every call throws a {@link ConnectionFailedException} when there is no
 * answer, and an {@link ApiException} when the answer is an error. Safe to use from any thread; there is nothing to close.
 */
public final class WorkflowClient {
    private static final double WAIT_S_MAX = 30.0;

    private final Rest rest;
    private final Json json;

    /** Connects to the address of the environment variable WORKFLOW_URL if it is HTTP, else http://127.0.0.1:8080. */
    public WorkflowClient() {
        this(Address.ofClient(System.getenv()));
    }

    /**
     * Connects to an address.
     *
     * @param url such as {@code http://127.0.0.1:8080}
     * @throws InvalidUrlException it cannot be read
     */
    public WorkflowClient(String url) {
        this(url, null);
    }

    /**
     * Connects to an address, and writes inputs with a mapper.
     *
     * @param url such as {@code http://127.0.0.1:8080}
     * @param mapper how classes become JSON; null for the usual way
     * @throws InvalidUrlException it cannot be read
     */
    public WorkflowClient(String url, ObjectMapper mapper) {
        if (!Address.isHttp(url)) {
            throw new InvalidUrlException("a client speaks HTTP to the orchestrator: '" + url
                    + "' should be an address such as http://127.0.0.1:8080");
        }
        rest = new Rest(new Http(url, System.getenv()));
        json = new Json(mapper);
    }

    @Override
    public String toString() {
        return "<WorkflowClient " + rest.address() + ">";
    }

    // ------------------------------------------------------------ workflows

    /**
     * Defines a workflow, or a new version of it. The same content again makes no new version.
     *
     * @param id its id
     * @param steps names of actions, or maps such as {@code Map.of("action", "charge", "timeout", "30s")}
     * @return the version
     */
    public Workflow define(String id, List<?> steps) {
        return define(definition(id, steps));
    }

    /**
     * Defines a workflow, or a new version of it, by a whole definition.
     *
     * @param definition a map, a node, or an object of a class
     * @return the version
     */
    public Workflow define(Object definition) {
        return Workflow.of(rest.call(Call.post("/workflow/", write(definition))));
    }

    /**
     * Returns the latest versions of all workflows, by id.
     *
     * @return all of them
     */
    public List<Workflow> workflows() {
        return rest.entries("/workflow/", Map.of(), null).map(Workflow::of).toList();
    }

    /**
     * Returns the latest version of a workflow.
     *
     * @param id its id
     * @return the version
     * @throws NotFoundException there is no such workflow
     */
    public Workflow workflow(String id) {
        return Workflow.of(rest.call(Call.get("/workflow/" + Http.part(id))));
    }

    // ------------------------------------------------------------ runs

    /**
     * Starts a run.
     *
     * @param workflowId of what
     * @param input any JSON value
     * @return the run's id
     * @throws NotFoundException there is no such workflow
     */
    public String trigger(String workflowId, Object input) {
        return trigger(workflowId, input, null);
    }

    /**
     * Starts a run, once for each key.
     *
     * @param workflowId of what
     * @param input any JSON value
     * @param idempotencyKey the same key again returns the run that it started before, for a day; null for one that is made
     *     up, so that a lost answer does not start a second run
     * @return the run's id
     * @throws NotFoundException there is no such workflow
     */
    public String trigger(String workflowId, Object input, String idempotencyKey) {
        return trigger(workflowId, input, idempotencyKey, Map.of());
    }

    /**
     * Starts a run that belongs to a trace, once for each key.
     *
     * @param workflowId of what
     * @param input any JSON value
     * @param idempotencyKey the same key again returns the run that it started before; null for one that is made up
     * @param trace {@code traceparent} and {@code tracestate}, which each job of the run will carry: what a propagator of
     *     OpenTelemetry injects into a map, or a handler's {@link Context#trace}. What else is in it is left alone
     * @return the run's id
     * @throws NotFoundException there is no such workflow
     */
    public String trigger(String workflowId, Object input, String idempotencyKey, Map<String, String> trace) {
        Map<String, Object> body = new HashMap<>();
        body.put("input", input);
        Map<String, String> headers = new HashMap<>(Job.traceOf(trace::get));
        headers.put(
                "Idempotency-Key", idempotencyKey == null ? UUID.randomUUID().toString() : idempotencyKey);
        Call call = new Call(
                "POST", "/workflow/" + Http.part(workflowId) + "/trigger", write(body), headers, Rest.TIMEOUT_S, true);
        return rest.call(call).path("runId").asText();
    }

    /**
     * Returns a run with its steps and attempts.
     *
     * @param runId its id
     * @return the run as it stands
     * @throws NotFoundException there is no such run
     */
    public Run get(String runId) {
        return Run.of(rest.call(Call.get(path(runId))));
    }

    /**
     * Waits until a run has ended, however it ended, for as long as it takes.
     *
     * @param runId its id
     * @return the run
     */
    public Run await(String runId) {
        return await(runId, null);
    }

    /**
     * Waits until a run has ended, however it ended.
     *
     * @param runId its id
     * @param timeout how long; null for as long as it takes
     * @return the run
     * @throws WaitTimeoutException it had not ended in time; it goes on
     */
    public Run await(String runId, Duration timeout) {
        long end = timeout == null ? 0 : System.nanoTime() + timeout.toNanos();
        while (true) {
            double left = timeout == null ? WAIT_S_MAX : Math.max(0, (end - System.nanoTime()) / 1e9);
            double seconds = Math.min(WAIT_S_MAX, left);
            String target = path(runId) + "?wait=" + String.format(Locale.ROOT, "%.3f", seconds);
            Run run = Run.of(rest.call(new Call("GET", target, null, Map.of(), seconds + Rest.TIMEOUT_S, true)));
            if (run.isEnded()) {
                return run;
            }
            if (timeout != null && System.nanoTime() >= end) {
                throw new WaitTimeoutException(run, timeout);
            }
        }
    }

    /**
     * Starts a run, waits for its end and returns its final output.
     *
     * @param workflowId of what
     * @param input any JSON value
     * @param timeout how long; null for as long as it takes
     * @return the final output
     * @throws RunFailedException it ended otherwise
     * @throws WaitTimeoutException it had not ended in time; it goes on
     */
    public JsonNode run(String workflowId, Object input, Duration timeout) {
        return run(workflowId, input, timeout, Map.of());
    }

    /**
     * Starts a run that belongs to a trace, waits for its end and returns its final output.
     *
     * @param workflowId of what
     * @param input any JSON value
     * @param timeout how long; null for as long as it takes
     * @param trace {@code traceparent} and {@code tracestate}, which each job of the run will carry
     * @return the final output
     * @throws RunFailedException it ended otherwise
     * @throws WaitTimeoutException it had not ended in time; it goes on
     */
    public JsonNode run(String workflowId, Object input, Duration timeout, Map<String, String> trace) {
        Run run = await(trigger(workflowId, input, null, trace), timeout);
        if (!run.status().equals("COMPLETED")) {
            throw new RunFailedException(run);
        }
        return run.finalOutput();
    }

    /**
     * Cancels a run.
     *
     * @param runId its id
     * @param reason for people; null for none
     * @return the run
     * @throws ConflictException it has ended already
     */
    public Run cancel(String runId, String reason) {
        Map<String, String> body = reason == null ? Map.of() : Map.of("reason", reason);
        return Run.of(rest.call(Call.post(path(runId) + "/cancel", write(body))));
    }

    /**
     * Returns the history of a run, oldest first.
     *
     * @param runId its id
     * @return all events
     */
    public List<Event> events(String runId) {
        return events(runId, 0);
    }

    /**
     * Returns what came after an event in the history of a run.
     *
     * @param runId its id
     * @param after the number of that event
     * @return later events, oldest first
     */
    public List<Event> events(String runId, int after) {
        Map<String, List<String>> query = Map.of("after", List.of(Integer.toString(after)));
        return rest.entries(path(runId) + "/events", query, null).map(Event::of).toList();
    }

    /**
     * Lists runs, newest first. Pages are fetched as the stream needs them.
     *
     * @param query which
     * @return a sequential stream
     */
    public Stream<Run> list(RunQuery query) {
        Map<String, List<String>> given = new HashMap<>();
        given.put("status", query.statuses());
        given.put("workflow", query.workflow() == null ? List.of() : List.of(query.workflow()));
        return rest.entries("/workflow/runs", given, query.limit()).map(Run::of);
    }

    // ------------------------------------------------------------ workers and dead letters

    /**
     * Returns the workers that are known, with the jobs in their hands.
     *
     * @return all of them
     */
    public List<WorkerInfo> workers() {
        return rest.entries("/workers", Map.of(), null).map(WorkerInfo::of).toList();
    }

    /**
     * Returns dead letters, newest first.
     *
     * @param workflow of which workflow; null for any
     * @param action of which action; null for any
     * @param limit how many at most; null for all
     * @return the letters
     */
    public List<DeadLetter> deadLetters(String workflow, String action, Integer limit) {
        Map<String, List<String>> query = new HashMap<>();
        query.put("workflow", workflow == null ? List.of() : List.of(workflow));
        query.put("action", action == null ? List.of() : List.of(action));
        return rest.entries("/dead-letters", query, limit).map(DeadLetter::of).toList();
    }

    /**
     * Runs the step of a dead letter again, in the same run and with a fresh retry budget.
     *
     * @param deadLetterId its id
     * @return the run
     */
    public Run redrive(String deadLetterId) {
        String target = "/dead-letters/" + Http.part(deadLetterId) + "/redrive";
        return Run.of(rest.call(new Call("POST", target, null, Map.of(), Rest.TIMEOUT_S, false)));
    }

    /**
     * Discards a dead letter; its run stays failed.
     *
     * @param deadLetterId its id
     */
    public void discard(String deadLetterId) {
        String target = "/dead-letters/" + Http.part(deadLetterId);
        rest.call(new Call("DELETE", target, null, Map.of(), Rest.TIMEOUT_S, false));
    }

    private static Map<String, Object> definition(String id, List<?> steps) {
        List<Object> whole = new ArrayList<>();
        for (Object step : steps) {
            whole.add(step instanceof String action ? Map.of("action", action) : step);
        }
        return Map.of("id", id, "steps", whole);
    }

    private static String path(String runId) {
        return "/workflow/run/" + Http.part(runId);
    }

    private byte[] write(Object value) {
        try {
            return json.write(value);
        } catch (NotJsonException error) {
            throw new IllegalArgumentException(error.getMessage(), error);
        }
    }
}
