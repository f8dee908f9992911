/**
 * A walk over a tree, a batch of entries at a time (helpers/posix/walk.c).
 *
 * While one batch is used, another thread fills the next.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { assert } from "../core/assert.ts";
import type { BytePath } from "../core/names.ts";
import { errnoName } from "./errno.ts";
import { decodeStat, encodePath, type FileStat } from "./layouts.ts";
import type { HeldMemory } from "./held_memory.ts";
import { PosixError } from "./posix_error.ts";
import type { Calls } from "./symbols.ts";

/** What is at `path`, relative to the root of the walk. */
export interface WalkedFile extends FileStat {
  readonly path: BytePath;
}

/** A directory whose list, or a name whose stat, could not be read: nothing follows from it. */
export interface Unreadable {
  readonly path: BytePath;
  readonly kind: "unreadable";
  /** Such as `EACCES`. */
  readonly code: string;
}

export type WalkEntry = WalkedFile | Unreadable;

export interface WalkOptions {
  /** Relative paths that are left out, with all below them. */
  readonly skip?: readonly BytePath[];
  /** Whether to go into directories on other devices. They are told in any case. */
  readonly crossDevices?: boolean;
}

/** One caller at a time. Must be closed. */
export interface Walk {
  /**
   * The next entries: some 4,000, or fewer where paths are long. Parents come before their
   * children. Empty at the end. What vanishes meanwhile may be missing.
   */
  nextBatch(): Promise<WalkEntry[]>;
  /** Waits for the batch under way. */
  close(): Promise<void>;
}

/** Some 4,000 entries with ordinary names. */
export const BATCH_BYTES = 512 * 1024;
const FLAG_RECURSE = 1;
const FLAG_CROSS_DEVICES = 2;
const HEADER_BYTES = 112;
const STAT_OFFSET = 16;

/** In the order of enum walk_record. */
const DIRECTORY = 0;
const UNREADABLE = 2;

export function openWalk(
  calls: Calls,
  held: HeldMemory,
  root: BytePath,
  options: WalkOptions,
): Walk {
  const handle = openHandle(calls, root, options, FLAG_RECURSE);
  return new TreeWalk(calls, held, root, handle);
}

/** What is in one directory, at once. `buffer`: of BATCH_BYTES, for this call. */
export function readDirectory(
  calls: Calls,
  path: BytePath,
  buffer: Uint8Array<ArrayBuffer>,
): WalkEntry[] {
  const handle = openHandle(calls, path, {}, 0);
  try {
    const entries: WalkEntry[] = [];
    for (;;) {
      const used = calls.p4posix_walk_next(handle, buffer, buffer.length);
      if (used < 0) throw new PosixError("read the directory", path, -used);
      if (used === 0) return entries;
      for (const entry of decodeBatch(buffer, used)) entries.push(entry);
    }
  } finally {
    calls.p4posix_walk_close(handle);
  }
}

function openHandle(
  calls: Calls,
  root: BytePath,
  options: WalkOptions,
  flags: number,
): Deno.PointerValue {
  const out = new BigUint64Array(1);
  const skip = (options.skip ?? []).map((path) => encodePath("skip", path));
  const skipBytes = new Uint8Array(Buffer.concat(skip));
  const result = calls.p4posix_walk_open(
    encodePath("walk", root),
    skipBytes,
    skipBytes.length,
    flags | (options.crossDevices === true ? FLAG_CROSS_DEVICES : 0),
    new Uint8Array(out.buffer),
  );
  if (result < 0) throw new PosixError("walk", root, -result);
  return Deno.UnsafePointer.create(out[0]!);
}

class TreeWalk implements Walk {
  readonly #calls: Calls;
  readonly #held: HeldMemory;
  readonly #root: BytePath;
  #handle: Deno.PointerValue;
  #filling: Filling | null = null;
  #spare: Uint8Array<ArrayBuffer> | null = null;
  #isAsked = false;
  #isOver = false;

  constructor(
    calls: Calls,
    held: HeldMemory,
    root: BytePath,
    handle: Deno.PointerValue,
  ) {
    this.#calls = calls;
    this.#held = held;
    this.#root = root;
    this.#handle = handle;
  }

  async nextBatch(): Promise<WalkEntry[]> {
    assert(this.#handle !== null, "a walk is used after its end");
    assert(!this.#isAsked, "a walk has one caller at a time");
    if (this.#isOver) return [];
    this.#isAsked = true;
    const { buffer, done } = this.#filling ?? this.#fill();
    const used = await done;
    this.#filling = null;
    this.#isAsked = false;
    if (used <= 0) this.#isOver = true;
    if (used < 0) throw new PosixError("walk", this.#root, -used);
    if (used > 0 && this.#handle !== null) this.#filling = this.#fill();
    const entries = decodeBatch(buffer, used);
    this.#spare = buffer;
    return entries;
  }

  #fill(): Filling {
    const buffer = this.#spare ?? new Uint8Array(BATCH_BYTES);
    this.#spare = null;
    const done = this.#calls.walkNextLater(this.#handle, buffer, buffer.length);
    const filling = { buffer, done: this.#held.until(done, buffer) };
    this.#filling = filling;
    return filling;
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    await this.#filling?.done;
    this.#calls.p4posix_walk_close(handle);
  }
}

interface Filling {
  readonly buffer: Uint8Array<ArrayBuffer>;
  readonly done: Promise<number>;
}

function decodeBatch(buffer: Uint8Array<ArrayBuffer>, used: number): WalkEntry[] {
  const view = new DataView(buffer.buffer);
  const text = Buffer.from(buffer.buffer);
  const entries: WalkEntry[] = [];
  let prefix = "";
  for (let at = 0; at < used; at += view.getUint32(at, true)) {
    const type = view.getUint16(at + 8, true);
    const start = at + HEADER_BYTES;
    const name = text.toString("latin1", start, start + view.getUint32(at + 4, true));
    if (type === DIRECTORY) {
      prefix = name === "" ? "" : `${name}/`;
    } else if (type === UNREADABLE) {
      const code = errnoName(view.getInt32(at + 12, true));
      entries.push({ path: name, kind: "unreadable", code });
    } else {
      entries.push({ ...decodeStat(view, at + STAT_OFFSET), path: prefix + name });
    }
  }
  return entries;
}
