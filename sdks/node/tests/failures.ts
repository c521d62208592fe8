/** A reporter for the test runner: the files of which a test has failed, one a line. */

import type { TestEvent } from "node:test/reporters";

export default async function* failures(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type === "test:fail" && event.data.file !== undefined) yield `${event.data.file}\n`;
  }
}
