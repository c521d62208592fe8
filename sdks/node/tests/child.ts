/** A worker process for tests: `slow` takes as many milliseconds as its payload says. */

import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "../src/index.js";

const worker = new Worker({ workerId: "w-child" });
worker.register("slow", async (payload: number) => {
  process.stdout.write("slow begins\n");
  await sleep(payload);
  return "slow";
});
await worker.start();
