package com.creedpetitt.workersdk.internal.kafka;

import com.creedpetitt.workersdk.Lines;
import com.creedpetitt.workersdk.internal.json.Json;
import com.creedpetitt.workersdk.internal.work.Loop;
import com.creedpetitt.workersdk.internal.work.Outcomes;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;

/** A worker's sender on a real broker, which believes that the topic of results has more partitions than it has. */
public final class ShrunkResults implements AutoCloseable {
    private final Loop loop = new Loop();
    private final KafkaConfig config;
    private final Sender sender;

    public ShrunkResults(String servers, Map<String, String> environment) {
        config = KafkaConfig.read(servers, Map.of(), Map.of(), false, environment);
        try {
            sender = new Sender(config, "shrunk", Clients.producer(config.producer("shrunk")), loop, new Lines());
        } catch (Clients.NoSuchHostException error) {
            throw new UncheckedIOException(new IOException(error));
        }
    }

    /** Sends results of jobs that name the first partition that is not there, and the last one that is; returns their ids. */
    public List<String> send(String action, int partitions) {
        List<String> ids = new ArrayList<>();
        loop.tell(() -> {
            sender.share(partitions + 1);
            for (int home : List.of(partitions, partitions - 1, partitions)) {
                KafkaJob job = job(action, ids.size(), home);
                byte[] value = Records.writeResult(Outcomes.completed(job, "done", Json.usual(), 1_000), job, "shrunk");
                sender.send(new Sending(config.topics().results(), job.key(), value, job, (sending, error) -> {}));
                ids.add(job.id());
            }
        });
        return ids;
    }

    private static KafkaJob job(String action, int number, int home) {
        String run = action + "-" + number;
        ObjectNode raw = JsonNodeFactory.instance.objectNode();
        raw.put("workflowRunId", run)
                .put("action", action)
                .put("jobId", run + ":0")
                .put("attempt", 1);
        raw.putNull("payload");
        byte[] key = run.getBytes(StandardCharsets.UTF_8);
        TopicPartition place = new TopicPartition("jobs", 0);
        return new KafkaJob(raw, new KafkaJob.Origin(place, number, key, 0, List.of(), home), true, false, 20);
    }

    /** Leaves. */
    @Override
    public void close() {
        loop.tell(sender::close);
    }
}
