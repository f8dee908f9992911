/**
 * A helper program as a child: its lines, what it is told, how it ends. gate/ and watch/ give
 * the lines their meaning.
 *
 * Bounded: its output is read only as fast as the messages are taken; the rest waits in the
 * pipe, and then in the helper, which stops reading its own input. It is not started again
 * here: the daemon does that, because it must also scan or drop requests then.
 *
 * @module
 */

import { assert } from "../core/assert.ts";
import type { Clock } from "../core/clock.ts";
import { type BytePath, bytesOf } from "../core/names.ts";
import { LineSplitter } from "./json_lines.ts";
import type { HelperFatal } from "./watch_message.ts";
import { WireError } from "./wire_error.ts";

/** Why there is no helper, or no longer. */
export type HelperFault =
  | "not-started" // the program cannot be executed
  | "refused" //     it said why it cannot work, with a code
  | "died" //        it ended without a word
  | "hung" //        it did not say in time that it works
  | "garbled"; //    it said what no helper of this build says

/** The base of the errors of gate/ and watch/. */
export class HelperError extends Error {
  override readonly name: string = "HelperError";
  readonly fault: HelperFault;
  /** The kernel's name of the error for `refused`, such as `EPERM`; null for other faults. */
  readonly code: string | null;

  constructor(fault: HelperFault, message: string, options: HelperErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.fault = fault;
    this.code = options.code ?? null;
  }

  /** A permission is missing, which a person must give: a capability, or the right to execute it. */
  get isDenied(): boolean {
    if (this.fault === "not-started") {
      return this.cause instanceof Deno.errors.PermissionDenied;
    }
    return this.code === "EPERM" || this.code === "EACCES";
  }
}

export interface HelperErrorOptions extends ErrorOptions {
  readonly code?: string | null;
}

export interface HelperOptions<M> {
  /** As Deno takes it: text, not bytes. */
  readonly helperPath: string;
  readonly args: readonly string[];
  readonly parse: (line: string) => M | HelperFatal;
  /** Each line of its standard error, cut to 4,096 characters. */
  readonly onStderrLine: (line: string) => void;
  /** Makes the errors of the caller's own class. */
  readonly errorOf: (
    fault: HelperFault,
    message: string,
    options?: HelperErrorOptions,
  ) => HelperError;
  readonly clock: Clock;
}

/** A helper that does not end by itself is ended after this. It has nothing to finish. */
const KILL_AFTER_MS = 5_000;
/** One that marks a depot waits for its disk. After this it waits for one that does not answer. */
const READY_MS_MAX = 30_000;
const STDERR_LINE_CHARACTERS_MAX = 4_096;

export class HelperProcess<M extends { readonly t: string }> implements AsyncIterable<M> {
  readonly #options: HelperOptions<M>;
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #splitter = new LineSplitter();
  readonly #stderr: Promise<void>;
  #lines: string[] = [];
  #taken = 0;
  #unsent = "";
  #sending: Promise<void> | null = null;
  #closing: Promise<void> | null = null;

  /** @throws {HelperError} `not-started` */
  constructor(options: HelperOptions<M>) {
    this.#options = options;
    const { helperPath, args, errorOf } = options;
    try {
      this.#child = new Deno.Command(helperPath, {
        args: [...args],
        cwd: "/",
        // The daemon's environment may hold keys of the store. A helper needs none of it.
        clearEnv: true,
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    } catch (cause) {
      throw errorOf("not-started", `Cannot start "${helperPath}": ${text(cause)}`, {
        cause,
      });
    }
    this.#reader = this.#child.stdout.getReader();
    this.#writer = this.#child.stdin.getWriter();
    this.#writer.closed.catch(() => {}); // its end is told by the reading side
    this.#stderr = this.#forwardStderr();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /**
   * The next message; null after {@linkcode close}. One caller at a time.
   *
   * @throws {HelperError} `refused`, `died` or `garbled`. The helper is ended by then.
   */
  async next(): Promise<M | null> {
    while (this.#taken === this.#lines.length) {
      if (this.#closing !== null || !await this.#readLines()) return null;
    }
    // Messages that were read before the end was asked for are not given out after it.
    if (this.#closing !== null) return null;
    return this.#parse(this.#lines[this.#taken++]!);
  }

  /**
   * The first message, by which a helper says that it works. One that says nothing is not waited
   * for: it is killed, and left to itself if the kernel does not let it go.
   *
   * @throws {HelperError} As {@linkcode next}, or `hung`. @throws The signal's reason, as soon as it
   * aborts.
   */
  async first(signal?: AbortSignal): Promise<M | null> {
    const isOver = new AbortController();
    const ends = signal === undefined ? [isOver.signal] : [isOver.signal, signal];
    try {
      return await Promise.race([this.next(), this.#isLate(AbortSignal.any(ends))]);
    } catch (error) {
      await this.#abandon();
      throw error;
    } finally {
      isOver.abort();
    }
  }

  async #isLate(signal: AbortSignal): Promise<never> {
    const { clock, errorOf, helperPath } = this.#options;
    await clock.sleep(READY_MS_MAX, signal);
    const seconds = READY_MS_MAX / 1000;
    throw errorOf(
      "hung",
      `"${helperPath}" did not say within ${seconds} s that it works`,
    );
  }

  async #abandon(): Promise<void> {
    this.#kill();
    const hasEnded = new AbortController();
    const closed = this.close().finally(() => hasEnded.abort());
    const late = this.#options.clock.sleep(KILL_AFTER_MS, hasEnded.signal).catch(
      () => {},
    );
    await Promise.race([closed, late]);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<M> {
    for (let m = await this.next(); m !== null; m = await this.next()) yield m;
  }

  /** Queues one line, with its line feed. To a helper that has ended it goes nowhere. */
  send(line: string): void {
    this.#unsent += line;
    this.#sending ??= this.#sendAll();
  }

  /**
   * Lets the helper end: what was sent before is delivered first. Ends an iteration that is
   * going on. Idempotent; resolves when the process is gone.
   */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #readLines(): Promise<boolean> {
    const { done, value } = await this.#reader.read();
    if (this.#closing !== null) return false;
    if (done) throw await this.#death();
    try {
      this.#lines = this.#splitter.push(value);
    } catch (error) {
      throw await this.#garbled(error);
    }
    this.#taken = 0;
    return true;
  }

  async #parse(line: string): Promise<M> {
    let message: M | HelperFatal;
    try {
      message = this.#options.parse(line);
    } catch (error) {
      throw await this.#garbled(error);
    }
    if (!isFatal(message)) return message;
    await this.close();
    throw this.#options.errorOf("refused", message.why, { code: message.code });
  }

  async #garbled(cause: unknown): Promise<unknown> {
    if (!(cause instanceof WireError)) return cause;
    await this.close();
    return this.#options.errorOf(
      "garbled",
      `Cannot understand "${this.#options.helperPath}": ${cause.message}`,
      { cause },
    );
  }

  async #death(): Promise<HelperError> {
    await this.close();
    const { code, signal } = await this.#child.status;
    const how = signal === null ? `status ${code}` : signal;
    return this.#options.errorOf(
      "died",
      `"${this.#options.helperPath}" ended by itself: ${how}`,
    );
  }

  async #sendAll(): Promise<void> {
    await Promise.resolve(); // what is sent in one turn goes in one write
    try {
      while (this.#unsent !== "") {
        const bytes = bytesOf(this.#unsent);
        this.#unsent = "";
        await this.#writer.write(bytes);
      }
    } catch {
      this.#unsent = ""; // it has ended; next() says so
    } finally {
      this.#sending = null;
    }
  }

  async #end(): Promise<void> {
    const hasEnded = new AbortController();
    const killing = this.#killLater(hasEnded.signal);
    // It may wait for us to read before it reads what we sent.
    const draining = this.#drain();
    await this.#sending;
    await this.#writer.close().catch(() => {});
    await Promise.all([draining, this.#stderr, this.#child.status]);
    hasEnded.abort();
    await killing;
  }

  async #drain(): Promise<void> {
    try {
      while (!(await this.#reader.read()).done);
    } catch {
      // Nothing is wanted from it any more.
    }
  }

  async #killLater(hasEnded: AbortSignal): Promise<void> {
    try {
      await this.#options.clock.sleep(KILL_AFTER_MS, hasEnded);
    } catch {
      return;
    }
    this.#kill();
  }

  #kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It ended in this moment.
    }
  }

  async #forwardStderr(): Promise<void> {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!.slice(0, STDERR_LINE_CHARACTERS_MAX);
      for (const line of lines) {
        this.#options.onStderrLine(line.slice(0, STDERR_LINE_CHARACTERS_MAX));
      }
    }
    if (rest !== "") this.#options.onStderrLine(rest);
  }
}

/**
 * A path as an argument of a program. Deno hands over text only, so a depot whose own path is
 * not UTF-8 cannot be named to a helper; names within it can be any bytes.
 *
 * @returns null if the path is not UTF-8.
 */
export function argumentOf(path: BytePath): string | null {
  assert(!path.includes("\0"), "a path holds no NUL");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      bytesOf(path),
    );
  } catch {
    return null;
  }
}

function isFatal(message: { readonly t: string }): message is HelperFatal {
  return message.t === "fatal";
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
