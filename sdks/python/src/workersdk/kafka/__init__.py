"""A worker over Kafka: docs in the README of this package, the records in `records.py`.

Nothing here is imported before a worker is given the address of a broker.
"""
