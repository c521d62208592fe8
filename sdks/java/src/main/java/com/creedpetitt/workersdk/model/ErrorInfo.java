package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;

/**
 * Why an attempt, and with it a step or a run, failed.
 *
 * @param type what a retry policy's {@code nonRetryable} is compared with
 * @param message for people
 * @param stack where it was thrown; null when nobody has said
 * @param raw the JSON that it was read from
 */
public record ErrorInfo(String type, String message, String stack, JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static ErrorInfo of(JsonNode raw) {
        return new ErrorInfo(
                Fields.text(raw, "type"), Fields.text(raw, "message"), Fields.textOrNull(raw, "stack"), raw);
    }
}
