package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Job;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** A job that came as a record. */
final class KafkaJob extends Job {
    /** Where a job came from, and the partition that its result is to go to. */
    record Origin(TopicPartition place, long offset, byte[] key, int size, List<Header> trace, int resultPartition) {}

    private static final Header CONTENT_TYPE =
            new RecordHeader("content-type", "application/json".getBytes(StandardCharsets.UTF_8));

    private final Origin origin;
    private final boolean hasId;
    private final boolean isAlone;
    private final String resultHead;
    private String startedAt = "";
    private boolean isNamed;

    /** Reads one; {@code hasId} says whether the record names which job it is, and is not just called by its place. */
    KafkaJob(JsonNode raw, Origin origin, boolean hasId, boolean isAlone, double lease) {
        super(raw, 0, 0, lease);
        this.origin = origin;
        this.hasId = hasId;
        this.isAlone = isAlone || super.isAlone();
        String head = "{\"workflowRunId\":"
                + Json.quote(raw.path("workflowRunId").asText()) + ",\"action\":" + Json.quote(action());
        this.resultHead = hasId ? head + "," + wireHead().substring(1) : head;
    }

    TopicPartition place() {
        return origin.place;
    }

    long offset() {
        return origin.offset;
    }

    int size() {
        return origin.size;
    }

    byte[] key() {
        return origin.key;
    }

    /** Returns which partition of the topic of results it names; {@link Records#ANY_PARTITION} if none. */
    int resultPartition() {
        return origin.resultPartition;
    }

    boolean hasId() {
        return hasId;
    }

    @Override
    public boolean isAlone() {
        return isAlone;
    }

    /** Returns the shorter of its own lease and its heartbeat time-out. */
    @Override
    public double lease() {
        return heartbeatTimeout() > 0 ? Math.min(heartbeatTimeout(), super.lease()) : super.lease();
    }

    String startedAt() {
        return startedAt;
    }

    void startedAt(String moment) {
        startedAt = moment;
    }

    /** Returns whether a heartbeat that has arrived named it. */
    boolean isNamed() {
        return isNamed;
    }

    void named() {
        isNamed = true;
    }

    @Override
    public String resultHead() {
        return resultHead;
    }

    @Override
    public byte[] inFlight(byte[] news) {
        String more = news == null ? "" : ",\"details\":" + new String(news, StandardCharsets.UTF_8);
        return (wireHead() + ",\"startedAt\":\"" + startedAt + "\"" + more + "}").getBytes(StandardCharsets.UTF_8);
    }

    /** Returns the headers of the result: what is known of the job. */
    List<Header> resultHeaders() {
        List<Header> headers = new ArrayList<>(5);
        if (hasId) {
            headers.add(new RecordHeader(Records.JOB_ID, id().getBytes(StandardCharsets.UTF_8)));
            String number = Integer.toString(attempt());
            headers.add(new RecordHeader(Records.ATTEMPT, number.getBytes(StandardCharsets.UTF_8)));
        }
        headers.add(CONTENT_TYPE);
        headers.addAll(origin.trace);
        return headers;
    }
}
