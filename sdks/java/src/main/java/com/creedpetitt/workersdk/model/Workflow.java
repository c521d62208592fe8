package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.List;

/**
 * A version of a definition.
 *
 * @param id its id
 * @param version from 1
 * @param description for people; may be empty
 * @param createdAt when; or null
 * @param steps as the orchestrator shows them, defaults filled in
 * @param raw the JSON that it was read from
 */
public record Workflow(
        String id, int version, String description, Instant createdAt, List<JsonNode> steps, JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static Workflow of(JsonNode raw) {
        return new Workflow(
                Fields.text(raw, "id"),
                raw.path("version").asInt(),
                Fields.text(raw, "description"),
                Fields.timeOrNull(raw, "createdAt"),
                Fields.list(raw, "steps", step -> step),
                raw);
    }
}
