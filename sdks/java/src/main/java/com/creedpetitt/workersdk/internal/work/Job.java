package com.creedpetitt.workersdk.internal.work;

import com.creedpetitt.workersdk.internal.json.Json;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.function.UnaryOperator;

/** One attempt of one step, in the worker's hands. */
public class Job {
    /** The most bytes that details may have. */
    public static final int DETAILS_BYTES_MAX = 16 * 1024;
    /** Where a run belongs in a distributed trace (W3C Trace Context): fields of a job, or headers of its record. */
    public static final List<String> TRACE_FIELDS = List.of("traceparent", "tracestate");

    private final JsonNode raw;
    private final String id;
    private final int attempt;
    private final double heartbeatTimeout;
    private final double lease;
    private final int burst;
    private double seenAt;
    private byte[] detailsTold;
    private volatile Stop stop;
    private volatile boolean hasSeenStop;
    private volatile byte[] details;
    private Thread runner;
    private Future<?> rest;

    /**
     * Reads one.
     *
     * @param raw the job object of the protocol
     * @param seenAt when the orchestrator last knew, for certain, that this worker has it, by the loop's clock
     * @param burst with which others it came
     * @param lease seconds that it stays here without a sign of life, where it does not say so itself
     * @throws IllegalArgumentException it is no job
     */
    public Job(JsonNode raw, double seenAt, int burst, double lease) {
        if (!raw.path("jobId").isTextual() || !raw.path("attempt").isInt()) {
            throw new IllegalArgumentException("a job has an id and the number of its attempt");
        }
        this.raw = raw;
        this.id = raw.get("jobId").asText();
        this.attempt = raw.get("attempt").asInt();
        this.heartbeatTimeout = raw.path("heartbeatTimeout").asDouble(0);
        double named = raw.path("lease").asDouble(0);
        this.lease = named > 0 ? named : lease;
        this.seenAt = seenAt;
        this.burst = burst;
    }

    /**
     * Returns the job object of the protocol.
     *
     * @return the JSON
     */
    public JsonNode raw() {
        return raw;
    }

    /**
     * Returns the step's id.
     *
     * @return the id
     */
    public String id() {
        return id;
    }

    /**
     * Returns the number of the attempt.
     *
     * @return from 1
     */
    public int attempt() {
        return attempt;
    }

    /**
     * Returns what is to be done.
     *
     * @return the action
     */
    public String action() {
        return raw.path("action").asText("");
    }

    /**
     * Returns where it belongs in a trace.
     *
     * @return the fields that it has; not to be changed
     */
    public Map<String, String> trace() {
        return traceOf(name -> raw.path(name).asText(""));
    }

    /**
     * Picks the trace context out of a carrier.
     *
     * @param carrier what it has by a name; null or empty for nothing
     * @return the fields that it has; not to be changed
     */
    public static Map<String, String> traceOf(UnaryOperator<String> carrier) {
        Map<String, String> trace = new LinkedHashMap<>();
        for (String name : TRACE_FIELDS) {
            String value = carrier.apply(name);
            if (value != null && !value.isEmpty()) {
                trace.put(name, value);
            }
        }
        return Collections.unmodifiableMap(trace);
    }

    /**
     * Tells whether nothing else may run beside it.
     *
     * @return true for a suspect
     */
    public boolean isAlone() {
        return raw.path("alone").asBoolean(false);
    }

    /**
     * Returns within how many seconds a heartbeat must name it.
     *
     * @return seconds; 0 when the step asks for none
     */
    public double heartbeatTimeout() {
        return heartbeatTimeout;
    }

    /**
     * Returns how long it stays here without a sign of life.
     *
     * @return seconds
     */
    public double lease() {
        return lease;
    }

    /**
     * Returns with which others it came.
     *
     * @return a number
     */
    public int burst() {
        return burst;
    }

    /**
     * Returns when the orchestrator last knew that it is here. Used on the loop.
     *
     * @return a moment of the loop's clock
     */
    public double seenAt() {
        return seenAt;
    }

    /**
     * Notes that the orchestrator knows. Used on the loop.
     *
     * @param moment of the loop's clock
     */
    public void seenAt(double moment) {
        seenAt = moment;
    }

    /**
     * Returns what its handler said last.
     *
     * @return JSON; null when it said nothing
     */
    public byte[] details() {
        return details;
    }

    /**
     * Notes what its handler says.
     *
     * @param text JSON
     */
    public void details(byte[] text) {
        details = text;
    }

    /**
     * Returns what of the details the orchestrator has. Used on the loop.
     *
     * @return JSON; null when it has none
     */
    public byte[] detailsTold() {
        return detailsTold;
    }

    /**
     * Notes what of the details the orchestrator has. Used on the loop.
     *
     * @param text JSON
     */
    public void detailsTold(byte[] text) {
        detailsTold = text;
    }

    /**
     * Returns why it was told to stop.
     *
     * @return the reason; null when it was not
     */
    public Stop stop() {
        return stop;
    }

    /**
     * Tells whether signs of life should name it: one that is fenced may still be this worker's.
     *
     * @return false when it is others' by now
     */
    public boolean isKeptAlive() {
        return stop == null || stop == Stop.FENCED;
    }

    /** Returns whether its handler is told to stop, and remembers that it knows: what comes of it may be half a work. */
    boolean lookForStop() {
        if (stop == null) {
            return false;
        }
        hasSeenStop = true;
        return true;
    }

    boolean hasSeenStop() {
        return hasSeenStop;
    }

    /** Tells it to stop: its context says so, its thread is interrupted, its future is cancelled. */
    void tellToStop(Stop why) {
        Future<?> running;
        synchronized (this) {
            stop = why;
            if (runner != null) {
                runner.interrupt();
            }
            running = rest;
        }
        if (running != null) {
            cancel(running);
        }
    }

    private static void cancel(Future<?> future) {
        try {
            future.cancel(true);
        } catch (UnsupportedOperationException error) {
            return; // it goes on, and its result is not used
        }
    }

    /** The handler begins, on this thread. */
    synchronized void begin() {
        runner = Thread.currentThread();
    }

    /** The handler has returned; an interruption that was meant for it does not outlast it. */
    synchronized void end() {
        runner = null;
        Thread.interrupted();
    }

    /** The handler has returned a future. */
    void goOn(Future<?> future) {
        boolean isTooLate;
        synchronized (this) {
            rest = future;
            isTooLate = stop != null;
        }
        if (isTooLate) {
            cancel(future);
        }
    }

    /**
     * Returns the beginning of every JSON object that names this attempt.
     *
     * @return JSON without its end
     */
    public String wireHead() {
        return "{\"jobId\":" + Json.quote(id) + ",\"attempt\":" + attempt;
    }

    /**
     * Returns the beginning of the JSON object that is its result.
     *
     * @return JSON without its end
     */
    public String resultHead() {
        return wireHead();
    }

    /**
     * Returns the entry that names it among the jobs in hand.
     *
     * @param news details that are not told yet; null for none
     * @return JSON
     */
    public byte[] inFlight(byte[] news) {
        String more = news == null ? "" : ",\"details\":" + new String(news, StandardCharsets.UTF_8);
        return (wireHead() + more + "}").getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public String toString() {
        return "<Job " + action() + " " + id + " attempt " + attempt + ">";
    }
}
