package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.List;

/**
 * A step of a run and its attempts, oldest first.
 *
 * @param stepIndex its place, from 0
 * @param action what it asks for
 * @param status PENDING QUEUED RUNNING BACKING_OFF COMPLETED FAILED CANCELLED TIMED_OUT
 * @param attempts oldest first
 * @param nextAttemptAt when it is tried again; or null
 * @param raw the JSON that it was read from
 */
public record Step(
        int stepIndex, String action, String status, List<Attempt> attempts, Instant nextAttemptAt, JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static Step of(JsonNode raw) {
        return new Step(
                raw.path("stepIndex").asInt(),
                Fields.text(raw, "action"),
                Fields.text(raw, "status"),
                Fields.list(raw, "attempts", Attempt::of),
                Fields.timeOrNull(raw, "nextAttemptAt"),
                raw);
    }
}
