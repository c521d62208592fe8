"""A worker without the SDK: a plain Kafka client that knows three fields (level 0 of protocol/README.md)."""

import json
import os

from confluent_kafka import Consumer, Producer

ACTION = "greet-python"
servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
jobs = os.environ.get("WORKFLOW_JOBS_TOPIC", "workflow-jobs")
results = os.environ.get("WORKFLOW_RESULTS_TOPIC", "workflow-results")

consumer = Consumer({"bootstrap.servers": servers, "group.id": "plain-python", "auto.offset.reset": "earliest"})
consumer.subscribe([jobs])
producer = Producer({"bootstrap.servers": servers})

while True:
    record = consumer.poll(1.0)
    if record is None or record.error():
        continue
    job = json.loads(record.value() or b"{}")
    if job.get("action") == ACTION:
        answer = {
            "workflowRunId": job["workflowRunId"],
            "action": ACTION,
            "result": f"Python greets {job['payload']}",
        }
        producer.produce(results, json.dumps(answer))
        producer.flush()  # the next poll may commit the job's offset: its result is there before
