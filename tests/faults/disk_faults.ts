/**
 * Failures of the local disk and jumps of the clock inside the daemon: disk_faults.c, built
 * and told what to do.
 *
 * @module
 */

import { command } from "./site.ts";

/** In the order of how they look to the daemon. */
export type DiskOp = "open" | "read" | "write" | "sync" | "rename" | "unlink" | "make";

export const ERRNO = { EIO: 5, EMFILE: 24, ENOSPC: 28 } as const;

export interface DiskFault {
  readonly op: DiskOp;
  readonly errno: keyof typeof ERRNO;
  /** Part of the path that it is about. */
  readonly path: string;
  /** Calls that fail; Infinity: all of them, until {@linkcode DiskFaults.clear}. */
  readonly times: number;
}

/**
 * When a file was written and synced: numbers of moments, the later the greater; 0: never.
 * What was written is on the disk if `synced` is later than `written`.
 */
export interface Moments {
  /** The last of all. */
  readonly last: bigint;
  /** When the last write ended that a sync has to follow. */
  readonly written: bigint;
  /** When the last sync began that worked. */
  readonly synced: bigint;
  /** When the last write ended that waited for the disk itself (O_DSYNC). */
  readonly through: bigint;
}

/** Where a process finds the file that tells it what fails. */
const CONTROL = "P4CACHE_TEST_FAULTS";

/** struct control of disk_faults.c. */
const BYTES = 592;
const OP_AT = 8;
const PATH_AT = 32;
const HITS_AT = 288;
const CLOCK_AT = 296;
const WATCHED_AT = 304;
const MOMENTS_AT = 560;

export class DiskFaults implements AsyncDisposable {
  /** Null: another process has made it. */
  readonly #directory: string | null;
  readonly #control: Deno.FsFile;

  private constructor(directory: string | null, control: Deno.FsFile) {
    this.#directory = directory;
    this.#control = control;
  }

  static async open(): Promise<DiskFaults> {
    const directory = await Deno.makeTempDir({ prefix: "p4cache-disk-faults-" });
    const source = new URL("./disk_faults.c", import.meta.url).pathname;
    const flags = [
      "-std=gnu11",
      "-O2",
      "-Wall",
      "-Wextra",
      "-Werror",
      "-fPIC",
      "-shared",
    ];
    await command("cc", ...flags, "-o", `${directory}/faults.so`, source, "-ldl");
    const control = await Deno.open(`${directory}/control`, {
      createNew: true,
      read: true,
      write: true,
    });
    await control.write(new Uint8Array(BYTES));
    return new DiskFaults(directory, control);
  }

  /** In a process that was started with {@linkcode env}. */
  static async inThisProcess(): Promise<DiskFaults> {
    const control = await Deno.open(Deno.env.get(CONTROL)!, { read: true, write: true });
    return new DiskFaults(null, control);
  }

  /** Of the daemon that is to fail. */
  get env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: `${this.#directory}/faults.so`,
      [CONTROL]: `${this.#directory}/control`,
    };
  }

  /** Takes effect at once, also in a daemon that is started later. */
  arm({ op, errno, path, times }: DiskFault): void {
    this.clear();
    const bytes = new Uint8Array(HITS_AT + 4);
    const view = new DataView(bytes.buffer);
    view.setInt32(4, ERRNO[errno], true);
    bytes.set(new TextEncoder().encode(op), OP_AT);
    bytes.set(new TextEncoder().encode(path), PATH_AT);
    this.#write(4, bytes.subarray(4));
    const left = new DataView(new ArrayBuffer(4));
    left.setInt32(0, times === Infinity ? -1 : times, true);
    this.#write(0, new Uint8Array(left.buffer));
  }

  clear(): void {
    this.#write(0, new Uint8Array(4));
  }

  /** How often the fault that is armed was met. */
  get hits(): number {
    return this.#read(HITS_AT).getInt32(0, true);
  }

  /** Calls that are still to fail. */
  get left(): number {
    return this.#read(0).getInt32(0, true);
  }

  /** Of the daemon's wall clock, from the machine's. */
  setClock(offsetSecs: number): void {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigInt64(0, BigInt(offsetSecs) * 1_000_000_000n, true);
    this.#write(CLOCK_AT, new Uint8Array(bytes.buffer));
  }

  /** From now on, {@linkcode moments} are those of files with `path` in their path. */
  watch(path: string): void {
    this.#write(WATCHED_AT, new TextEncoder().encode(`${path}\0`));
  }

  get moments(): Moments {
    const view = this.#read(MOMENTS_AT, 32);
    const at = (index: number): bigint => view.getBigInt64(8 * index, true);
    return { last: at(0), written: at(1), synced: at(2), through: at(3) };
  }

  #write(at: number, bytes: Uint8Array): void {
    this.#control.seekSync(at, Deno.SeekMode.Start);
    this.#control.writeSync(bytes);
  }

  #read(at: number, count = 8): DataView {
    const bytes = new Uint8Array(count);
    this.#control.seekSync(at, Deno.SeekMode.Start);
    this.#control.readSync(bytes);
    return new DataView(bytes.buffer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#control.close();
    if (this.#directory === null) return;
    await Deno.remove(this.#directory, { recursive: true });
  }
}
