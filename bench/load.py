"""A load generator that costs little: HTTP/1.1 over asyncio streams, one request at a time on each connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence


class Connection:
    """A kept connection to the server."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: bytes = b"", accept: str = "*/*") -> tuple[int, bytes]:
        """Send a request; gives the status and the body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._address[0]}\r\nAccept: {accept}\r\nContent-Length: {len(body)}"
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:] if b": " in line)
        length = int(fields.get(b"content-length", b"0"))
        return int(answer[9:12]), await reader.readexactly(length)

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


class Load:
    """Keeps a number of runs in flight until a number of them has completed; servers get them by turns."""

    def __init__(self, host: str, ports: Sequence[int], workflow: str, payload: str) -> None:
        self._addresses = [(host, port) for port in ports]
        self._path = f"/workflow/{workflow}/trigger?wait=60s"
        self._body = b'{"input": "%s"}' % payload.encode()
        self.latencies: list[float] = []
        """Seconds from trigger to completion, of each run."""

    async def run(self, in_flight: int, total: int) -> float:
        """Give the seconds it took."""
        left = total
        self.latencies = []

        async def keep_one(number: int) -> None:
            nonlocal left
            connection = Connection(*self._addresses[number % len(self._addresses)])
            while left > 0:
                left -= 1
                started = time.perf_counter()
                status, body = await connection.request("POST", self._path, self._body, "text/plain")
                if status != 201:
                    raise RuntimeError(f"trigger was answered {status}: {body[:200]!r}")
                self.latencies.append(time.perf_counter() - started)
            connection.close()

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(in_flight):
                group.create_task(keep_one(number))
        return time.perf_counter() - started

    def percentile(self, part: float) -> float:
        """Give a latency in milliseconds: 0.5 for the median."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1_000
