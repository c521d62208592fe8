package com.creedpetitt.workersdk.internal.kafka;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.Examples;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Failure;
import com.creedpetitt.workersdk.internal.work.Hello;
import com.creedpetitt.workersdk.internal.work.Outcome;
import com.creedpetitt.workersdk.internal.work.Outcomes;
import com.fasterxml.jackson.databind.JsonNode;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.junit.jupiter.api.Test;

/** The records of this SDK are those of {@code protocol/examples}: byte for byte where it writes, whole where it reads. */
class ProtocolTest {
    private static final String WORKER = "w-box-8287-bf6787";
    private static final TopicPartition JOBS = new TopicPartition("workflow-jobs", 0);

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static KafkaJob job(String name) throws UndecodableException {
        return job(name, headers -> {});
    }

    private static KafkaJob job(String name, Consumer<Headers> change) throws UndecodableException {
        JsonNode told = Examples.ofRecord(name);
        RecordHeaders headers = new RecordHeaders();
        told.get("headers")
                .forEach(header ->
                        headers.add(header.get(0).asText(), bytes(header.get(1).asText())));
        change.accept(headers);
        byte[] value = bytes(told.get("value").asText());
        ConsumerRecord<byte[], byte[]> record = new ConsumerRecord<>(
                JOBS.topic(),
                JOBS.partition(),
                7,
                0,
                TimestampType.CREATE_TIME,
                0,
                value.length,
                bytes(told.get("key").asText()),
                value,
                headers,
                Optional.empty());
        KafkaJob job = Records.readJob(Records.actionOf(record), record, JOBS, 30);
        job.startedAt("2026-11-30T15:40:08.524139Z");
        return job;
    }

    private static KafkaJob jobThatNames(byte[] partition) throws UndecodableException {
        return job("job", headers -> {
            headers.remove(Records.RESULT_PARTITION);
            headers.add(Records.RESULT_PARTITION, partition);
        });
    }

    private static void check(Outcome outcome, String name) {
        JsonNode told = Examples.ofRecord(name);
        KafkaJob job = (KafkaJob) outcome.job();
        assertEquals(told.get("value").asText(), text(Records.writeResult(outcome, job, WORKER)));
        assertEquals(told.get("key").asText(), text(job.key()));
        List<List<String>> headers = new ArrayList<>();
        for (Header header : job.resultHeaders()) {
            headers.add(List.of(header.key(), text(header.value())));
        }
        assertEquals(Json.natural(told.get("headers")), headers);
    }

    @Test
    void aJobIsRead() throws UndecodableException {
        KafkaJob job = job("job");
        assertEquals("01a22d1d-0dab-7cea-808a-29457981d4fc:0", job.id());
        assertEquals(1, job.attempt());
        assertFalse(job.isAlone());
        assertEquals("Hello World", job.raw().get("payload").asText());
    }

    @Test
    void thePartitionOfTheResultIsRead() throws UndecodableException {
        assertEquals(0xd4fc % 12, job("job").resultPartition());
        assertEquals(0xd4fc % 12, job("job-traced").resultPartition());
        assertEquals(0, jobThatNames(bytes("0")).resultPartition());
        assertEquals(999_999_999, jobThatNames(bytes("999999999")).resultPartition());
    }

    @Test
    void whatNamesNoPartitionIsPassedOver() throws UndecodableException {
        KafkaJob silent = job("job", headers -> headers.remove(Records.RESULT_PARTITION));
        assertEquals(Records.ANY_PARTITION, silent.resultPartition());
        assertEquals(Records.ANY_PARTITION, jobThatNames(null).resultPartition());
        for (String told : List.of("", "-1", "+1", " 1", "1_0", "one", "²", "1".repeat(10), "1".repeat(5_000))) {
            assertEquals(Records.ANY_PARTITION, jobThatNames(bytes(told)).resultPartition(), told);
        }
    }

    @Test
    void aResultGoesToThePartitionThatItsJobNames() throws UndecodableException {
        ResultPartitions partitions = new ResultPartitions();
        KafkaJob named = jobThatNames(bytes("3"));
        assertNull(partitions.of(named), "how many there are is not known");
        partitions.share(4);
        Set<Integer> turns = new HashSet<>();
        for (int number = 0; number < 4; number++) {
            partitions.turn();
            assertEquals(3, partitions.of(named));
            int turn = partitions.of(jobThatNames(null));
            turns.add(turn);
            for (String told : List.of("4", "999999999", "-1", "one")) {
                assertEquals(turn, partitions.of(jobThatNames(bytes(told))), told);
            }
        }
        assertEquals(Set.of(0, 1, 2, 3), turns);
        partitions.share(3);
        assertTrue(partitions.of(named) < 3);
        partitions.share(0);
        assertNull(partitions.of(named), "the topic was made anew");
    }

    @Test
    void aTraceIsRead() throws UndecodableException {
        assertEquals(Map.of(), job("job").trace());
        Map<String, String> trace = Map.of(
                "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate", "vendor=value");
        assertEquals(trace, job("job-traced").trace());
    }

    @Test
    void aJobThatComesAgainIsReadWithAllThatItSays() throws UndecodableException {
        KafkaJob job = job("job-again");
        assertEquals(2, job.attempt());
        assertTrue(job.isAlone());
        assertEquals(2.5, job.lease());
        assertEquals(Map.of("done", 40), Json.natural(job.raw().get("details")));
        JsonNode payload = job.raw().get("payload");
        assertEquals(new BigInteger("123456789012345678901234567890"), Json.natural(payload.get("amount")));
        assertEquals(
                "{\"name\":\"Zoë 🎉\",\"amount\":123456789012345678901234567890,\"rate\":1.10,\"tags\":[]}",
                text(Json.writeKnown(payload)));
    }

    @Test
    void resultsAreWrittenByteForByte() throws UndecodableException {
        check(Outcomes.completed(job("job"), "Processed: Hello World", Json.usual(), 1_000), "result-completed");
        String stack = "ConnectionError: the ledger is closed\n";
        Failure again = new Failure("ConnectionError", "the ledger is closed", stack, true, 2.5);
        check(Outcomes.failed(job("job"), again), "result-failed");
        Failure last = Failure.last("CardDeclined", "no such card");
        check(Outcomes.failed(job("job"), last), "result-failed-for-good");
        check(Outcomes.completed(job("job-traced"), "Processed: Hello World", Json.usual(), 1_000), "result-traced");
        KafkaJob leaving = job("job-again");
        leaving.details(bytes("{\"done\":60}"));
        check(Outcomes.released(leaving), "result-released");
    }

    @Test
    void heartbeatsAreWrittenByteForByte() throws UndecodableException {
        List<String> actions = List.of("step1", "write-letter");
        Hello hello = new Hello(WORKER, actions, "workersdk-python", "0.1.0", "box", 8287, 10, 22.5);
        BeatWriter writer = new BeatWriter(hello, null, 22.5, 7.5);
        byte[] entry = job("job-again").inFlight(bytes("{\"done\":60}"));
        assertEquals(
                Examples.ofRecord("heartbeat").get("value").asText(), text(writer.write(List.of(entry), 9, false)));
        assertEquals(
                Examples.ofRecord("heartbeat-leaving").get("value").asText(), text(writer.write(List.of(), 0, true)));
    }

    @Test
    void aStopIsRead() {
        JsonNode word =
                Records.readControl(bytes(Examples.ofRecord("stop").get("value").asText()));
        assertEquals("01a22d1d-0dab-7cea-808a-29457981d4fc:3", word.get("jobId").asText());
        assertEquals(2, word.get("attempt").asInt());
        assertNull(Records.readControl(bytes("{\"type\":\"other\"}")));
        assertNull(Records.readControl(null));
    }
}
