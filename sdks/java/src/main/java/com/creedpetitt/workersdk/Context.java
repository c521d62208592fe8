package com.creedpetitt.workersdk;

import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;

/** The second argument of a handler that wants one. Safe to use from any thread. */
public interface Context {
    /**
     * Returns the step's own id, the same for all its attempts: the idempotency key for effects outside.
     *
     * @return the id
     */
    String jobId();

    /**
     * Returns which attempt this is: 1, 2, 3 …
     *
     * @return the number
     */
    int attempt();

    /**
     * Returns the run that this step belongs to.
     *
     * @return its id
     */
    String runId();

    /**
     * Returns the workflow that the run is one of.
     *
     * @return its id; empty when nobody has said
     */
    String workflowId();

    /**
     * Returns the action that this handler was registered for.
     *
     * @return its name
     */
    String action();

    /**
     * Returns the place of the step in its workflow, from 0.
     *
     * @return the place
     */
    int stepIndex();

    /**
     * Returns when the attempt has failed whatever comes.
     *
     * @return the moment; empty when the step has no time-out
     */
    Optional<Instant> deadline();

    /**
     * Returns what the previous attempt said in its last heartbeat, as maps, lists, strings, numbers and booleans.
     *
     * @return the details; null when it said nothing
     */
    Object details();

    /**
     * Returns what the previous attempt said in its last heartbeat.
     *
     * @param <T> what it is read as
     * @param type what it is read as
     * @return the details; null when it said nothing
     * @throws IllegalArgumentException when they are something else
     */
    <T> T details(Class<T> type);

    /**
     * Returns the {@code traceparent} that the run was triggered with (W3C Trace Context).
     *
     * @return the header; empty when there was none
     */
    Optional<String> traceparent();

    /**
     * Returns the {@code tracestate} that goes with it.
     *
     * @return the header; empty when there is none
     */
    Optional<String> tracestate();

    /**
     * Returns both by their names, as a carrier for the propagators of OpenTelemetry.
     *
     * @return the headers; empty when there is no trace
     */
    Map<String, String> trace();

    /**
     * Tells whether this attempt is not wanted any more: stop as soon as you can, the result will not be used.
     *
     * <p>That is when the run was cancelled, the attempt has timed out, the lease is lost, the orchestrator could not be
     * reached for longer than the lease, or the worker leaves without waiting any longer. The thread of the handler is
     * interrupted as well, and a future that it returned is cancelled.
     *
     * @return true once nobody wants it; what the handler returns or throws after that is not used
     */
    boolean isCancelled();

    /**
     * Says how far this attempt is. It goes with the worker's next heartbeat.
     *
     * <p>People see it, and the next attempt finds it in {@link #details()}. The worker beats by itself while a handler
     * runs; this call is only for the details.
     *
     * @param details any JSON value up to 16 KiB
     * @throws IllegalArgumentException when the details are not JSON or are too large
     */
    void heartbeat(Object details);

    /**
     * Returns where to write. While a handler runs, {@code workflow}, {@code run}, {@code step}, {@code action},
     * {@code attempt}, and {@code traceparent} where there is one, are in the {@link org.slf4j.MDC} of its thread.
     *
     * @return the worker's logger
     */
    Logger logger();
}
