package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Job;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/**
 * The records that a worker and the orchestrator exchange, as bytes. docs/worker-protocol.md says what the fields mean.
 *
 * <p>Rule 1: the headers of a job repeat what its value says, so that a reader can pass over it without reading the value.
 *
 * <p>Rule 2: three fields ({@code workflowRunId}, {@code action}, {@code payload}) and no headers are a job too; its result
 * says what is known.
 */
final class Records {
    static final String ACTION = "wf-action";
    static final String JOB_ID = "wf-job-id";
    static final String ATTEMPT = "wf-attempt";
    static final String ALONE = "wf-alone";
    static final String RESULT_PARTITION = "wf-result-partition";
    static final int ANY_PARTITION = -1;

    private static final int PARTITION_DIGITS_MAX = 9;

    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern(
                    "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'", Locale.ROOT)
            .withZone(ZoneOffset.UTC);

    private Records() {}

    /** Returns the action that a record is a job of, from its headers where they say so. */
    static String actionOf(ConsumerRecord<byte[], byte[]> record) throws UndecodableException {
        for (Header header : record.headers()) {
            if (header.key().equals(ACTION) && header.value() != null) {
                return text(header);
            }
        }
        JsonNode named = readValue(record).path("action");
        if (!named.isTextual()) {
            throw new UndecodableException("it names no action");
        }
        return named.asText();
    }

    /** Reads a job of an action. {@code lease} in seconds. */
    static KafkaJob readJob(String action, ConsumerRecord<byte[], byte[]> record, TopicPartition place, double lease)
            throws UndecodableException {
        ObjectNode raw = readValue(record);
        JsonNode run = raw.path("workflowRunId");
        if (!run.isTextual()) {
            throw new UndecodableException("a job names its run");
        }
        raw.put("action", action);
        try {
            boolean hasId = complete(raw, record);
            if (!hasId) {
                // The same for every delivery of this record, which is what an idempotency key has to be.
                raw.put("jobId", place.topic() + ":" + place.partition() + ":" + record.offset());
                raw.put("attempt", 1);
            }
            byte[] key = record.key() == null || record.key().length == 0
                    ? run.asText().getBytes(StandardCharsets.UTF_8)
                    : record.key();
            boolean isAlone = record.headers().lastHeader(ALONE) != null;
            List<Header> trace = new ArrayList<>(2);
            int resultPartition = ANY_PARTITION;
            for (Header header : record.headers()) {
                if (header.key().equals(RESULT_PARTITION)) {
                    resultPartition = partition(header.value());
                } else if (Job.TRACE_FIELDS.contains(header.key()) && header.value() != null) {
                    trace.add(header);
                    raw.put(header.key(), text(header));
                }
            }
            KafkaJob.Origin origin = new KafkaJob.Origin(
                    place, record.offset(), key, record.serializedValueSize(), trace, resultPartition);
            return new KafkaJob(raw, origin, hasId, isAlone, lease);
        } catch (IllegalArgumentException error) {
            throw new UndecodableException(error.getMessage());
        }
    }

    /** Completes what was written where the handler ran. */
    static byte[] writeResult(Outcome outcome, KafkaJob job, String workerId) {
        byte[] body = outcome.body();
        String status = outcome.status() == Outcome.Status.COMPLETED ? ",\"status\":\"completed\"" : ",\"result\":null";
        String tail = status + ",\"workerId\":" + Json.quote(workerId) + ",\"startedAt\":\"" + job.startedAt() + "\"}";
        ByteArrayOutputStream value = new ByteArrayOutputStream(body.length + tail.length());
        value.write(body, 0, body.length - 1);
        value.writeBytes(tail.getBytes(StandardCharsets.UTF_8));
        return value.toByteArray();
    }

    /** Reads a word of the orchestrator that a worker understands; null for every other one. */
    static JsonNode readControl(byte[] value) {
        try {
            JsonNode word = Json.read(value == null ? new byte[0] : value);
            boolean isWhole =
                    word.path("jobId").isTextual() && word.path("attempt").isInt();
            return isWhole && "cancel".equals(word.path("type").asText()) ? word : null;
        } catch (IOException error) {
            return null;
        }
    }

    /** Returns the time as it travels: ISO 8601, UTC. */
    static String now() {
        return TIME.format(Instant.now());
    }

    /** Reads decimal digits; whatever else stands there names no partition. */
    private static int partition(byte[] digits) {
        if (digits == null || digits.length == 0 || digits.length > PARTITION_DIGITS_MAX) {
            return ANY_PARTITION;
        }
        int number = 0;
        for (byte digit : digits) {
            if (digit < '0' || digit > '9') {
                return ANY_PARTITION;
            }
            number = number * 10 + digit - '0';
        }
        return number;
    }

    private static String text(Header header) {
        return new String(header.value(), StandardCharsets.UTF_8);
    }

    private static ObjectNode readValue(ConsumerRecord<byte[], byte[]> record) throws UndecodableException {
        try {
            if (Json.read(record.value() == null ? new byte[0] : record.value()) instanceof ObjectNode raw) {
                return raw;
            }
        } catch (IOException error) {
            throw new UndecodableException(error.getMessage());
        }
        throw new UndecodableException("it is not a JSON object");
    }

    /** Fills in from the headers what the value leaves out; tells whether the job says which one it is. */
    private static boolean complete(ObjectNode raw, ConsumerRecord<byte[], byte[]> record) {
        Header id = record.headers().lastHeader(JOB_ID);
        if (!raw.has("jobId") && id != null && id.value() != null) {
            raw.put("jobId", text(id));
        }
        Header attempt = record.headers().lastHeader(ATTEMPT);
        if (!raw.has("attempt") && attempt != null && attempt.value() != null) {
            raw.put("attempt", Integer.parseInt(text(attempt)));
        }
        if (!raw.hasNonNull("jobId")) {
            return false;
        }
        if (!raw.hasNonNull("attempt")) {
            raw.put("attempt", 1);
        }
        return true;
    }
}
