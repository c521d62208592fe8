package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;

/**
 * One event of a run's history.
 *
 * @param seq counts from 1 without a gap
 * @param type what happened
 * @param at when; or null
 * @param stepIndex to which step; or null
 * @param attempt to which attempt; or null
 * @param worker by whom; or null
 * @param error why; or null
 * @param raw the JSON that it was read from
 */
public record Event(
        int seq,
        String type,
        Instant at,
        Integer stepIndex,
        Integer attempt,
        String worker,
        ErrorInfo error,
        JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static Event of(JsonNode raw) {
        return new Event(
                raw.path("seq").asInt(),
                Fields.text(raw, "type"),
                Fields.timeOrNull(raw, "at"),
                Fields.numberOrNull(raw, "stepIndex"),
                Fields.numberOrNull(raw, "attempt"),
                Fields.textOrNull(raw, "worker"),
                Fields.errorOrNull(raw),
                raw);
    }
}
