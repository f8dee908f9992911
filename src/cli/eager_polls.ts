/**
 * Starts the daemon again, as the same process, with an event loop that asks the kernel for news
 * in each turn.
 *
 * Deno's runtime asks epoll once in 61 turns as long as other threads have results for it. While
 * files are restored they always have, and a request from the gate waits for 61 turns of work.
 * The number can be given in the environment only, and only before the runtime is made.
 *
 * @module
 */

import { assert } from "../core/assert.ts";

const VARIABLE = "DENO_TOKIO_EVENT_INTERVAL";

/** Returns if it is so already, or if exec is refused: the daemon then answers later, and no worse. */
export function execWithEagerPolls(): void {
  if (Deno.env.get(VARIABLE) !== undefined) return;
  const words = Deno.readFileSync("/proc/self/cmdline");
  Deno.env.set(VARIABLE, "1");
  const libc = Deno.dlopen("libc.so.6", {
    execv: { parameters: ["buffer", "buffer"], result: "i32" },
  });
  libc.symbols.execv(new TextEncoder().encode("/proc/self/exe\0"), pointersTo(words));
  libc.close();
}

/** To each of the texts in `words`, which end with a NUL, and a null pointer. */
function pointersTo(words: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  assert(words.at(-1) === 0, "the kernel ends each argument with a NUL");
  const start = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(words)));
  const pointers: bigint[] = [];
  for (let at = 0; at < words.length; at = words.indexOf(0, at) + 1) {
    pointers.push(start + BigInt(at));
  }
  return new Uint8Array(BigUint64Array.of(...pointers, 0n).buffer);
}
