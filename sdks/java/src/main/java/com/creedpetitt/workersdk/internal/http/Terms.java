package com.creedpetitt.workersdk.internal.http;

import com.fasterxml.jackson.databind.JsonNode;

/**
 * What the orchestrator grants: times in seconds, sizes in bytes.
 *
 * @param lease how long a job stays here without a sign of life
 * @param heartbeat how often to beat
 * @param waitMax how long a call may wait
 * @param capacityMax how many jobs a call may ask for
 * @param resultBytesMax how large a result may be
 * @param requestBytesMax how large a call may be
 */
record Terms(double lease, double heartbeat, double waitMax, int capacityMax, int resultBytesMax, int requestBytesMax) {
    /** What holds until the orchestrator has spoken. */
    static final Terms USUAL = new Terms(30, 10, 60, 1_000, 2 * 1024 * 1024, 16 * 1024 * 1024);

    static Terms of(JsonNode answer) {
        return new Terms(
                answer.path("lease").asDouble(USUAL.lease),
                answer.path("heartbeat").asDouble(USUAL.heartbeat),
                answer.path("waitMax").asDouble(USUAL.waitMax),
                answer.path("capacityMax").asInt(USUAL.capacityMax),
                answer.path("resultBytesMax").asInt(USUAL.resultBytesMax),
                answer.path("requestBytesMax").asInt(USUAL.requestBytesMax));
    }
}
