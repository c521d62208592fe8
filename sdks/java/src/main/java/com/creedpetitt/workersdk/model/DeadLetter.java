package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;

/**
 * A job that has no attempt left, kept for a person.
 *
 * @param id its id
 * @param runId whose it is
 * @param workflowId what that is a run of
 * @param stepIndex its place, from 0
 * @param action what was asked for
 * @param state OPEN REDRIVEN DISCARDED
 * @param attempts how many there were
 * @param payload what it was to work on
 * @param error why it failed; or null
 * @param createdAt when; or null
 * @param raw the JSON that it was read from
 */
public record DeadLetter(
        String id,
        String runId,
        String workflowId,
        int stepIndex,
        String action,
        String state,
        int attempts,
        JsonNode payload,
        ErrorInfo error,
        Instant createdAt,
        JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static DeadLetter of(JsonNode raw) {
        return new DeadLetter(
                Fields.text(raw, "id"),
                Fields.text(raw, "runId"),
                Fields.text(raw, "workflowId"),
                raw.path("stepIndex").asInt(),
                Fields.text(raw, "action"),
                raw.path("state").asText("OPEN"),
                raw.path("attempts").asInt(),
                raw.path("payload"),
                Fields.errorOrNull(raw),
                Fields.timeOrNull(raw, "createdAt"),
                raw);
    }
}
