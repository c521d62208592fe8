/** The worker of the workflow `long-job`: a film is encoded for minutes, and no frame twice when a worker dies. */

import { setTimeout } from "node:timers/promises";
import { Worker } from "workersdk";

interface Film {
  frames: number;
  secondsPerFrame?: number;
}

const worker = new Worker();

worker.register("encode", async ({ frames, secondsPerFrame = 1 }: Film, context) => {
  // What the attempt before this one said last.
  const first = (context.details as { done: number } | undefined)?.done ?? 0;
  context.logger.info(`encode from frame ${first} of ${frames}, attempt ${context.attempt}`);
  for (let frame = first; frame < frames; frame++) {
    // The work. A cancelled job ends here, with the signal's reason.
    await setTimeout(secondsPerFrame * 1000, undefined, { signal: context.signal });
    context.heartbeat({ done: frame + 1 });
  }
  context.logger.info(`encoded ${frames} frames`);
  return { frames, resumedAt: first };
});

await worker.start();
