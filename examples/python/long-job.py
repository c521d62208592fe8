"""The worker of the workflow `long-job`: a film is encoded for minutes, and no frame twice when a worker dies."""

import asyncio
from typing import Any

from workersdk import Context, Worker

worker = Worker()


@worker.register("encode")
async def encode(film: dict[str, Any], context: Context) -> dict[str, Any]:
    frames, seconds = film["frames"], film.get("secondsPerFrame", 1)
    # What the attempt before this one said last.
    first = context.details["done"] if context.details else 0
    context.logger.info("encode from frame %d of %d, attempt %d", first, frames, context.attempt)
    for frame in range(first, frames):
        # The work. A cancelled job ends here, with a CancelledError.
        await asyncio.sleep(seconds)
        context.heartbeat({"done": frame + 1})
    context.logger.info("encoded %d frames", frames)
    return {"frames": frames, "resumedAt": first}


if __name__ == "__main__":
    worker.start()
