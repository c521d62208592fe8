import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** A worker without the SDK: a plain Kafka client that knows three fields (level 0 of protocol/README.md). */
public class PlainWorkerApp {
    private static final String ACTION = "greet-java";

    public static void main(String[] args) throws Exception {
        Map<String, String> environment = System.getenv();
        String servers = environment.getOrDefault("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092");
        String jobs = environment.getOrDefault("WORKFLOW_JOBS_TOPIC", "workflow-jobs");
        String results = environment.getOrDefault("WORKFLOW_RESULTS_TOPIC", "workflow-results");
        Map<String, Object> reading =
                Map.of("bootstrap.servers", servers, "group.id", "plain-java", "auto.offset.reset", "earliest");
        ObjectMapper json = new ObjectMapper();
        try (var consumer = new KafkaConsumer<>(reading, new StringDeserializer(), new StringDeserializer());
                var producer = new KafkaProducer<>(
                        Map.<String, Object>of("bootstrap.servers", servers),
                        new StringSerializer(),
                        new StringSerializer())) {
            consumer.subscribe(List.of(jobs));
            while (true) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    JsonNode job = json.readTree(record.value());
                    if (job.path("action").asText().equals(ACTION)) {
                        String runId = job.path("workflowRunId").asText();
                        String result = "Java greets " + job.path("payload").asText();
                        Map<String, String> answer = Map.of("workflowRunId", runId, "action", ACTION, "result", result);
                        producer.send(new ProducerRecord<>(results, json.writeValueAsString(answer)));
                    }
                }
                producer.flush(); // the next poll may commit what was read: the results are there before
            }
        }
    }
}
