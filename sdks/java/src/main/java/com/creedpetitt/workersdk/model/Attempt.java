package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;

/**
 * One execution of a step.
 *
 * @param attempt its number, from 1
 * @param status QUEUED RUNNING COMPLETED FAILED TIMED_OUT LOST RELEASED CANCELLED
 * @param scheduledAt when it was due; or null
 * @param startedAt when it began; or null
 * @param finishedAt when it ended; or null
 * @param worker who did it; or null
 * @param error why it failed; or null
 * @param raw the JSON that it was read from
 */
public record Attempt(
        int attempt,
        String status,
        Instant scheduledAt,
        Instant startedAt,
        Instant finishedAt,
        String worker,
        ErrorInfo error,
        JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static Attempt of(JsonNode raw) {
        return new Attempt(
                raw.path("attempt").asInt(),
                Fields.text(raw, "status"),
                Fields.timeOrNull(raw, "scheduledAt"),
                Fields.timeOrNull(raw, "startedAt"),
                Fields.timeOrNull(raw, "finishedAt"),
                Fields.textOrNull(raw, "worker"),
                Fields.errorOrNull(raw),
                raw);
    }
}
