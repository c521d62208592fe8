package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;

/**
 * What a step returned.
 *
 * @param action what was asked for
 * @param stepIndex its place, from 0
 * @param result any JSON value
 * @param timestamp when it was recorded; or null
 * @param raw the JSON that it was read from
 */
public record StepResult(String action, int stepIndex, JsonNode result, Instant timestamp, JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static StepResult of(JsonNode raw) {
        return new StepResult(
                Fields.text(raw, "action"),
                raw.path("stepIndex").asInt(),
                raw.path("result"),
                Fields.timeOrNull(raw, "timestamp"),
                raw);
    }
}
