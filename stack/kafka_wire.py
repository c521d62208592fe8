"""The one request of Kafka's protocol that is needed to know that a broker works: Metadata.

See https://kafka.apache.org/protocol for the layouts. Version 4 is spoken by every broker from 0.11 on.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Self

METADATA = 3
METADATA_VERSION = 4
CLIENT = b"stack"
RESPONSE_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Metadata:
    """What a broker says about its cluster."""

    brokers: list[int]
    """The ids of the brokers that take requests."""
    partitions: dict[str, int]
    """The number of partitions of each topic that was asked for, exists, and has a leader in every partition."""

    @classmethod
    def ask(cls, host: str, port: int, seconds: float, *, topics: tuple[str, ...] = (), create: bool = False) -> Self:
        """Ask a broker; with `create`, it makes topics that do not exist, in its own time.

        Raises:
            OSError: nobody is there, or no answer came within `seconds` or it was cut off
        """
        names = b"".join(_text(topic.encode()) for topic in topics)
        body = struct.pack(">i", len(topics)) + names + struct.pack(">?", create)
        header = struct.pack(">hhi", METADATA, METADATA_VERSION, 0) + _text(CLIENT)
        with socket.create_connection((host, port), seconds) as connection:
            connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
            with connection.makefile("rb") as stream:
                size = struct.unpack(">i", _exactly(stream.read(4), 4))[0]
                if not 0 < size <= RESPONSE_BYTES_MAX:
                    raise ConnectionError(f"an answer of {size} bytes: not a Kafka broker")
                return cls._read(_Reader(_exactly(stream.read(size), size)))

    @classmethod
    def _read(cls, reader: _Reader) -> Self:
        reader.take("ii")  # correlation id, throttle time
        brokers = []
        for _ in range(reader.number()):
            brokers.append(reader.number())
            reader.text()  # host
            reader.number()  # port
            reader.text()  # rack
        reader.text()  # cluster id
        reader.number()  # controller
        partitions: dict[str, int] = {}
        for _ in range(reader.number()):
            (error,) = reader.take("h")
            name = reader.text()
            reader.take("?")  # internal
            errors = [reader.partition() for _ in range(reader.number())]
            if not error and errors and not any(errors):
                partitions[name] = len(errors)
        return cls(brokers, partitions)


class _Reader:
    """Reads the values of a response one after another."""

    def __init__(self, content: bytes) -> None:
        self._stream = BytesIO(content)

    def take(self, layout: str) -> tuple[int, ...]:
        size = struct.calcsize(f">{layout}")
        return struct.unpack(f">{layout}", _exactly(self._stream.read(size), size))

    def number(self) -> int:
        return self.take("i")[0]

    def text(self) -> str:
        (size,) = self.take("h")
        return self._stream.read(max(size, 0)).decode()

    def partition(self) -> int:
        """Read one partition; give its error code, 0 when it has a leader."""
        error, _, _ = self.take("hii")  # error, index, leader
        for _ in ("replicas", "in sync"):
            self.take("i" * self.number())
        return error


def _text(content: bytes) -> bytes:
    return struct.pack(">h", len(content)) + content


def _exactly(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise ConnectionError("the answer was cut off")
    return content
