package com.creedpetitt.workersdk.real;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.function.Consumer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The orchestrator's part, played on a real broker: writes jobs, and listens to results and heartbeats.
 *
 * <p>On topics of its own. An orchestrator that heard of a job in hand, of a run that it does not know, would have the
 * worker stop it.
 */
final class Stage implements AutoCloseable {
    private static final Map<String, Integer> PARTITIONS =
            Map.of("jobs", 4, "results", 4, "heartbeats", 1, "control", 1);

    /** A record on the topic of results. */
    record Result(String key, Map<String, String> headers, JsonNode value, int partition) {}

    final List<Result> results = new CopyOnWriteArrayList<>();
    final List<JsonNode> heartbeats = new CopyOnWriteArrayList<>();
    /** What a worker must have to play here. */
    final Map<String, String> environment;

    private final String prefix = "stage-" + UUID.randomUUID().toString().substring(0, 8) + "-";
    private final ObjectMapper mapper = new ObjectMapper();
    private final Admin admin;
    private final KafkaProducer<byte[], byte[]> producer;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Thread thread = new Thread(this::listen);
    private volatile boolean isListening = true;

    Stage(String servers) {
        environment = Map.of("KAFKA_BOOTSTRAP_SERVERS", servers, "WORKFLOW_KAFKA_PREFIX", prefix);
        admin = Admin.create(Map.of("bootstrap.servers", servers));
        List<NewTopic> topics = new ArrayList<>();
        PARTITIONS.forEach((name, count) -> topics.add(new NewTopic(topic("workflow-" + name), count, (short) 1)));
        done(admin.createTopics(topics).all());
        producer = new KafkaProducer<>(
                Map.of("bootstrap.servers", servers), new ByteArraySerializer(), new ByteArraySerializer());
        consumer = new KafkaConsumer<>(
                Map.of(
                        "bootstrap.servers",
                        servers,
                        "enable.auto.commit",
                        false,
                        "auto.offset.reset",
                        "earliest",
                        "fetch.max.wait.ms",
                        20),
                new ByteArrayDeserializer(),
                new ByteArrayDeserializer());
        List<TopicPartition> places = new ArrayList<>();
        for (String name : List.of("results", "heartbeats")) {
            for (int partition = 0; partition < PARTITIONS.get(name); partition++) {
                places.add(new TopicPartition(topic("workflow-" + name), partition));
            }
        }
        consumer.assign(places);
        thread.setDaemon(true);
        thread.start();
    }

    /** Returns the name that a topic has here. */
    String topic(String name) {
        return prefix + name;
    }

    /** Writes a job as the orchestrator does; returns its id. */
    String give(String topic, String action, Object payload, boolean isAlone) {
        return give(topic, null, action, payload, isAlone, List.of(), Stage::done);
    }

    /** Writes a job to a partition. */
    String giveTo(int partition, String action) {
        return give("workflow-jobs", partition, action, null, false, List.of(), Stage::done);
    }

    /** Writes a job whose result is to go to a partition. */
    String giveWithHome(String home, String action) {
        List<Header> more = List.of(header("wf-result-partition", home));
        return give("workflow-jobs", null, action, null, false, more, Stage::done);
    }

    /** Writes so many jobs to a partition, and one behind them that runs alone, all at once; returns the ids of the many. */
    List<String> burst(int partition, String action, int count, Object suspect) {
        List<String> ids = new ArrayList<>();
        List<Future<?>> written = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            ids.add(give("workflow-jobs", partition, action, number, false, List.of(), written::add));
        }
        give("workflow-jobs", partition, action, suspect, true, List.of(), written::add);
        written.forEach(Stage::done);
        return ids;
    }

    /** Writes a record to a partition that is no job. */
    void litter(int partition) {
        done(send("workflow-jobs", partition, null, "no JSON", List.of()));
    }

    /** Returns what the group of an action has committed; 0 where it never was. */
    long committed(String action, int partition) {
        TopicPartition place = new TopicPartition(topic("workflow-jobs"), partition);
        String group = prefix + "workflow-worker." + action;
        var offset = done(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata())
                .get(place);
        return offset == null ? 0 : offset.offset();
    }

    /** Returns how many partitions the topic of results has. */
    int resultPartitions() {
        return PARTITIONS.get("results");
    }

    /** Returns how many partitions the topic of jobs has. */
    int partitions() {
        return PARTITIONS.get("jobs");
    }

    private String give(
            String topic,
            Integer partition,
            String action,
            Object payload,
            boolean isAlone,
            List<Header> more,
            Consumer<Future<?>> wait) {
        String run = UUID.randomUUID().toString();
        ObjectNode value = mapper.createObjectNode()
                .put("workflowRunId", run)
                .put("action", action)
                .put("jobId", run + ":0")
                .put("attempt", 1)
                .put("workflowId", "test")
                .put("stepIndex", 0);
        value.set("payload", mapper.valueToTree(payload));
        List<Header> headers = new ArrayList<>(List.of(
                header("wf-action", action),
                header("wf-job-id", run + ":0"),
                header("wf-run-id", run),
                header("wf-attempt", "1")));
        if (isAlone) {
            value.put("alone", true);
            headers.add(header("wf-alone", "1"));
        }
        headers.addAll(more);
        wait.accept(send(topic, partition, run, value.toString(), headers));
        return run + ":0";
    }

    String give(String action, Object payload) {
        return give("workflow-jobs", action, payload, false);
    }

    /** Writes any record, and sees it arrive. */
    void write(String topic, String key, String value, List<Header> headers) {
        done(send(topic, null, key, value, headers));
    }

    private Future<?> send(String topic, Integer partition, String key, String value, List<Header> headers) {
        byte[] bytes = value == null ? null : value.getBytes(StandardCharsets.UTF_8);
        byte[] name = key == null ? null : key.getBytes(StandardCharsets.UTF_8);
        return producer.send(new ProducerRecord<>(topic(topic), partition, name, bytes, headers));
    }

    Result resultOf(String field, String value) {
        Installation.until("there is a result of " + value, () -> find(field, value) != null);
        return find(field, value);
    }

    Result resultOf(String jobId) {
        return resultOf("jobId", jobId);
    }

    long count(String jobId) {
        return results.stream()
                .filter(result -> result.value.path("jobId").asText().equals(jobId))
                .count();
    }

    private Result find(String field, String value) {
        return results.stream()
                .filter(result -> result.value.path(field).asText().equals(value))
                .findFirst()
                .orElse(null);
    }

    private static Header header(String name, String value) {
        return new RecordHeader(name, value.getBytes(StandardCharsets.UTF_8));
    }

    private void listen() {
        while (isListening) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
                JsonNode value = read(record.value());
                if (record.topic().equals(topic("workflow-heartbeats"))) {
                    heartbeats.add(value);
                } else {
                    Map<String, String> headers = new HashMap<>();
                    record.headers().forEach(one -> headers.put(one.key(), new String(one.value())));
                    String key = record.key() == null ? "" : new String(record.key());
                    results.add(new Result(key, headers, value, record.partition()));
                }
            }
        }
        consumer.close();
    }

    private JsonNode read(byte[] text) {
        try {
            return mapper.readTree(text);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    @Override
    public void close() {
        isListening = false;
        try {
            thread.join();
        } catch (InterruptedException error) {
            throw new AssertionError(error);
        }
        producer.close();
        done(admin.deleteTopics(PARTITIONS.keySet().stream()
                        .map(name -> topic("workflow-" + name))
                        .toList())
                .all());
        admin.close();
    }

    private static <T> T done(Future<T> future) {
        try {
            return future.get();
        } catch (InterruptedException | ExecutionException error) {
            throw new AssertionError(error);
        }
    }
}
