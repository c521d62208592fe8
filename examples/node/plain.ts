/** A worker without the SDK: a plain Kafka client that knows three fields (level 0 of protocol/README.md). */

import { Consumer, Producer, stringDeserializers, stringSerializers } from "@platformatic/kafka";

const action = "greet-node";
const bootstrapBrokers = (process.env.KAFKA_BOOTSTRAP_SERVERS ?? "kafka:9092").split(",");
const jobs = process.env.WORKFLOW_JOBS_TOPIC ?? "workflow-jobs";
const results = process.env.WORKFLOW_RESULTS_TOPIC ?? "workflow-results";

const producer = new Producer({ clientId: "plain", bootstrapBrokers, serializers: stringSerializers });
const consumer = new Consumer({
  clientId: "plain",
  groupId: "plain-node",
  bootstrapBrokers,
  deserializers: stringDeserializers,
  autocommit: false,
});

const records = await consumer.consume({ topics: [jobs], mode: "committed", fallbackMode: "earliest" });
for await (const record of records) {
  const job = JSON.parse(record.value);
  if (job.action === action) {
    const answer = { workflowRunId: job.workflowRunId, action, result: `Node greets ${job.payload}` };
    await producer.send({ messages: [{ topic: results, value: JSON.stringify(answer) }] });
    await record.commit(); // after its result: a job that is lost between comes again
  }
}
