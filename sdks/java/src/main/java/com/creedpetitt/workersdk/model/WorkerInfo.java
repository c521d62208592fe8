package com.creedpetitt.workersdk.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.List;

/**
 * A worker as the orchestrator sees it.
 *
 * @param workerId its id
 * @param status CONNECTED DRAINING GONE
 * @param transport http kafka
 * @param actions what it has handlers for
 * @param host where it runs; or null
 * @param concurrency how many jobs it runs at once; or null
 * @param lastSeenAt when it last gave a sign of life; or null
 * @param inHand the jobs in its hands
 * @param raw the JSON that it was read from
 */
public record WorkerInfo(
        String workerId,
        String status,
        String transport,
        List<String> actions,
        String host,
        Integer concurrency,
        Instant lastSeenAt,
        List<JsonNode> inHand,
        JsonNode raw) {
    /**
     * Reads one.
     *
     * @param raw the JSON object
     * @return what it says
     */
    public static WorkerInfo of(JsonNode raw) {
        return new WorkerInfo(
                Fields.text(raw, "workerId"),
                Fields.text(raw, "status"),
                raw.path("transport").asText("http"),
                Fields.list(raw, "actions", JsonNode::asText),
                Fields.textOrNull(raw, "host"),
                Fields.numberOrNull(raw, "concurrency"),
                Fields.timeOrNull(raw, "lastSeenAt"),
                Fields.list(raw, "inHand", job -> job),
                raw);
    }
}
