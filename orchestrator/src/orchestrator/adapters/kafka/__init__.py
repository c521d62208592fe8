"""The `Broker` port on Apache Kafka 3.6 or later: plain clients of confluent-kafka, each with a thread that polls."""
