"""The crash table, executed: real processes, a real PostgreSQL, Kafka and Redis, faults, and a checker."""
