// What the programs share: a line of JSON comes in, a line of JSON goes out. A program ends when its
// input does, since the test that started it is gone then.

import { createInterface } from "node:readline";

/** Answers every line of the input. */
export async function serve(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
  process.exit();
}

// Standard output is for answers.
console.log = console.error;

// No test takes nearly as long.
setTimeout(() => {
  console.error("this program is given up");
  process.exit(1);
}, 300_000).unref();
