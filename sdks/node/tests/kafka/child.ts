/** A worker process for tests, `child.js ACTION...`. What a job does is its payload's word. */

import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "../../src/index.js";

const worker = new Worker({
  workerId: `w-child-${process.pid}`,
  concurrency: Number(process.env.CONCURRENCY ?? 8),
  lease: process.env.LEASE ?? 30,
  kafka: { "session.timeout.ms": Number(process.env.SESSION_MS ?? 6_000), "heartbeat.interval.ms": 300 },
});
for (const action of process.argv.slice(2)) {
  worker.register(action, async (payload: string, { jobId, attempt }) => {
    process.stdout.write(`begun ${jobId} ${attempt}\n`);
    if (payload === "die" && attempt < 3) process.kill(process.pid, "SIGKILL");
    if (payload === "stuck" && attempt === 1) await sleep(3_600_000);
    return payload;
  });
}
await worker.start();
process.stdout.write("returned\n");
