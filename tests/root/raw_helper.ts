/**
 * Drives a real helper program by its JSON lines, without the daemon's drivers: what these
 * tests see is what is on the pipe.
 *
 * Nothing here waits for a time to pass: each wait ends with the line it waits for, or with
 * the helper's end, which is an error. The test runner's own limit ends a test that hangs.
 *
 * @module
 */

import { fail } from "node:assert/strict";
import { fromFileUrl } from "./files.ts";

/** A line of a helper, as it came. */
export type Message = Readonly<Record<string, unknown>> & { readonly t: string };

const BUILD = Deno.env.get("P4CACHE_LIB") ?? fromFileUrl("../../build", import.meta.url);

/** Why the root tests cannot run here; null when they can. */
export function reasonToSkip(): string | null {
  if (Deno.uid() !== 0) return "not root";
  for (const name of ["p4-cache-gate", "p4-cache-fanotify"]) {
    if (!exists(`${BUILD}/${name}`)) return `${BUILD}/${name} is not built`;
  }
  return null;
}

/** Registers a test that needs root, or prints why it is left out. */
export function rootTest(name: string, run: () => Promise<void>): void {
  const reason = reasonToSkip();
  // deno-lint-ignore no-console -- a skip says why
  if (reason !== null) console.log(`skipped: ${name}: ${reason}`);
  Deno.test({ name, ignore: reason !== null, fn: run });
}

export class RawHelper implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #seen: Message[] = [];
  readonly #raw: string[] = [];
  #wake: PromiseWithResolvers<void> = Promise.withResolvers();
  #isOver = false;
  #isPaused: Promise<void> | null = null;
  readonly #reading: Promise<void>;

  /** `around` is put before the helper's path, such as `["setpriv", ...]`. */
  constructor(name: string, args: readonly string[], around: readonly string[] = []) {
    const [program, ...rest] = [...around, `${BUILD}/${name}`, ...args];
    this.#child = new Deno.Command(program!, {
      args: rest,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reading = this.#readAll();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Each line as it stood on the pipe. */
  get raw(): readonly string[] {
    return this.#raw;
  }

  /** All messages so far that nobody took. */
  get untaken(): readonly Message[] {
    return this.#seen;
  }

  /** Takes the first message, past or future, that `wanted` accepts. */
  async take(wanted: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const index = this.#seen.findIndex(wanted);
      if (index >= 0) return this.#seen.splice(index, 1)[0]!;
      if (this.#isOver) {
        fail(`the helper ended; left: ${JSON.stringify(this.#seen)}`);
      }
      await this.#wake.promise;
    }
  }

  takeKind(t: string): Promise<Message> {
    return this.take((message) => message.t === t);
  }

  /** Runs `work` while the helper stands still. */
  async stopped(work: () => Promise<unknown>): Promise<void> {
    Deno.kill(this.pid, "SIGSTOP");
    await work();
    Deno.kill(this.pid, "SIGCONT");
  }

  async send(message: object): Promise<void> {
    await this.sendText(JSON.stringify(message) + "\n");
  }

  async sendText(text: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(text));
  }

  /** Stops reading the helper's output until the returned function is called. */
  pause(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#isPaused = promise;
    return () => {
      this.#isPaused = null;
      resolve();
    };
  }

  /** Ends its stdin and waits for its end. */
  async end(): Promise<number> {
    await this.#writer.close().catch(() => {});
    return await this.status();
  }

  async status(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }

  async #readAll(): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder("utf-8", { fatal: true });
    for await (const chunk of this.#child.stdout) {
      await this.#isPaused;
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        this.#raw.push(line);
        this.#seen.push(JSON.parse(line));
      }
      this.#announce();
    }
    this.#isOver = true;
    this.#announce();
  }

  #announce(): void {
    const wake = this.#wake;
    this.#wake = Promise.withResolvers();
    wake.resolve();
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
