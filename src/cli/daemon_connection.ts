/**
 * One request to a running daemon over shim.sock, as the shim makes one: a connection, a
 * line, the lines of the answer.
 *
 * @module
 */

import { bytesOf, textOfBytes } from "../core/names.ts";

/** Longest reply line, with its line feed. */
const LINE_BYTES_MAX = 4_608;

/**
 * The lines of the answer, one character per byte, until the daemon closes.
 *
 * @param line One character per byte, without its line feed.
 * @throws {Deno.errors} If nobody listens; the signal's reason when it aborts.
 */
export async function* linesOfAnswer(
  socketPath: string,
  line: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  signal.throwIfAborted();
  const connection = await Deno.connect({ transport: "unix", path: socketPath });
  const close = (): void => connection.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    const request = bytesOf(`${line}\n`);
    for (let at = 0; at < request.length;) {
      at += await connection.write(request.subarray(at));
    }
    yield* linesOf(connection);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
    if (!signal.aborted) connection.close();
  }
}

async function* linesOf(connection: Deno.Conn): AsyncGenerator<string> {
  const buffer = new Uint8Array(LINE_BYTES_MAX);
  let held = "";
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) return;
    held += textOfBytes(buffer.subarray(0, count));
    for (let lf = held.indexOf("\n"); lf >= 0; lf = held.indexOf("\n")) {
      yield held.slice(0, lf);
      held = held.slice(lf + 1);
    }
    if (held.length > LINE_BYTES_MAX) return;
  }
}
