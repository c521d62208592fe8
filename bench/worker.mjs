// The worker of the benchmarks in Node.js: a no-op handler for every action, as in worker.py.
import { Worker } from "../sdks/node/dist/src/index.js";

const [url, count] = process.argv.slice(2);
const worker = new Worker({ concurrency: 1000 });
for (let number = 0; number < Number(count); number++) worker.register(`noop-${number}`, async (payload) => payload);
await worker.start(url);
