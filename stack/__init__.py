"""The real parts, without Docker: Kafka, PostgreSQL and Redis as processes of this machine.

`make stack` starts one of each in `.stack/`; tests start private ones wherever they like:

    from stack.kafka import Kafka

    with Kafka(folder, free_port()).running() as kafka:
        kafka.kill()  # as `kill -9` does; with `start`, `pause`, `resume`, `restart`

Only the standard library is used, so that any Python from 3.11 can run it.
"""
