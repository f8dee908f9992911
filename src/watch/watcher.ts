/**
 * Drives p4-cache-fanotify: an AsyncIterable of what changes in the depot.
 *
 * A watcher that ends is not started again here. Who does must scan: what happened meanwhile
 * was seen by nobody.
 *
 * @module
 */

import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import type { BytePath } from "../core/names.ts";
import {
  argumentOf,
  HelperError,
  type HelperErrorOptions,
  type HelperFault,
  HelperProcess,
} from "../wire/helper_process.ts";
import {
  parseWatchMessage,
  type WatchEvent,
  type WatchReady,
} from "../wire/watch_message.ts";

export type { WatchEvent, WatchReady } from "../wire/watch_message.ts";

/** Why the depot is not watched. */
export class WatchError extends HelperError {
  override readonly name = "WatchError";
}

export interface WatcherOptions {
  /** `p4-cache-fanotify`. */
  readonly helperPath: string;
  /** The depot, then each directory below it that is on another device. */
  readonly roots: readonly BytePath[];
  /** `content` forces the fallback for kernels before 5.9. */
  readonly mode?: "auto" | "fid" | "content";
  /** The helper's standard error, line by line. Default: ignored. */
  readonly onStderrLine?: (line: string) => void;
  readonly clock?: Clock;
  /** Ends the waiting for a helper that does not say that it works, and the helper. */
  readonly signal?: AbortSignal;
}

/**
 * The events, once. Iterating ends after {@linkcode Watcher.close}, and throws a
 * {@linkcode WatchError} when the helper ended by itself.
 */
export interface Watcher extends AsyncIterable<WatchEvent> {
  /** What the kernel can report. */
  readonly ready: WatchReady;
  /** Idempotent; resolves when the helper is gone. */
  close(): Promise<void>;
}

/**
 * Resolves when the depot is marked: every change after that is reported.
 *
 * @throws {WatchError} @throws The signal's reason.
 */
export async function openWatcher(options: WatcherOptions): Promise<Watcher> {
  const { helperPath, onStderrLine = () => {}, clock = SYSTEM_CLOCK } = options;
  const helper = new HelperProcess<WatchReady | WatchEvent>({
    helperPath,
    args: argumentsOf(options),
    parse: parseWatchMessage,
    onStderrLine,
    errorOf: watchError,
    clock,
  });
  const first = await helper.first(options.signal);
  if (first?.t !== "ready") {
    await helper.close();
    throw watchError("garbled", `"${helperPath}" did not begin with "ready"`);
  }
  return {
    ready: first,
    close: () => helper.close(),
    [Symbol.asyncIterator]: () => eventsOf(helper),
  };
}

async function* eventsOf(
  helper: HelperProcess<WatchReady | WatchEvent>,
): AsyncGenerator<WatchEvent> {
  for await (const message of helper) {
    if (message.t !== "ready") yield message;
  }
}

function argumentsOf({ roots, mode }: WatcherOptions): string[] {
  const args = mode === undefined ? [] : ["--mode", mode];
  for (const root of roots) {
    const argument = argumentOf(root);
    if (argument === null) {
      throw watchError("not-started", `Cannot watch "${root}": its path is not UTF-8`);
    }
    args.push("--root", argument);
  }
  return args;
}

function watchError(
  fault: HelperFault,
  message: string,
  options?: HelperErrorOptions,
): WatchError {
  return new WatchError(fault, message, options);
}
