package com.creedpetitt.workersdk.internal.work;

import com.creedpetitt.workersdk.Context;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.json.NotJsonException;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;

/** The context of a job in hand. */
public final class JobContext implements Context {
    private final Job job;
    private final Json json;
    private final Logger logger;

    /**
     * Makes one.
     *
     * @param job whose
     * @param json how details are written
     * @param logger where handlers write
     */
    public JobContext(Job job, Json json, Logger logger) {
        this.job = job;
        this.json = json;
        this.logger = logger;
    }

    @Override
    public String jobId() {
        return job.id();
    }

    @Override
    public int attempt() {
        return job.attempt();
    }

    @Override
    public String runId() {
        return job.raw().path("workflowRunId").asText("");
    }

    @Override
    public String workflowId() {
        return job.raw().path("workflowId").asText("");
    }

    @Override
    public String action() {
        return job.action();
    }

    @Override
    public int stepIndex() {
        return job.raw().path("stepIndex").asInt(0);
    }

    @Override
    public Optional<Instant> deadline() {
        JsonNode text = job.raw().path("deadline");
        return text.isTextual() ? Optional.of(Instant.parse(text.asText())) : Optional.empty();
    }

    @Override
    public Object details() {
        return Json.natural(job.raw().path("details"));
    }

    @Override
    public <T> T details(Class<T> type) {
        try {
            return type.cast(json.as(job.raw().path("details"), json.mapper().constructType(type)));
        } catch (IOException error) {
            throw new IllegalArgumentException(
                    "the details are no " + type.getName() + ": " + error.getMessage(), error);
        }
    }

    @Override
    public Optional<String> traceparent() {
        return Optional.ofNullable(trace().get("traceparent"));
    }

    @Override
    public Optional<String> tracestate() {
        return Optional.ofNullable(trace().get("tracestate"));
    }

    @Override
    public Map<String, String> trace() {
        return job.trace();
    }

    @Override
    public boolean isCancelled() {
        return job.lookForStop();
    }

    @Override
    public void heartbeat(Object details) {
        if (details == null) {
            return; // the last details stay
        }
        byte[] text;
        try {
            text = json.write(details);
        } catch (NotJsonException error) {
            throw new IllegalArgumentException("heartbeat details: " + error.getMessage(), error);
        }
        if (text.length > Job.DETAILS_BYTES_MAX) {
            throw new IllegalArgumentException("heartbeat details are at most " + Job.DETAILS_BYTES_MAX
                    + " bytes of JSON, these are " + text.length);
        }
        job.details(text);
    }

    @Override
    public Logger logger() {
        return logger;
    }

    @Override
    public String toString() {
        return "<Context " + action() + " " + jobId() + " attempt " + attempt() + ">";
    }
}
