/**
 * A depot, an NFS store and the real daemon between them, which a test kills and starts
 * again. The daemon is the executable that P4CACHE names (default: the launcher on Deno
 * 2.9.6), so that what dies is what customers run.
 *
 * @module
 */

import { deepStrictEqual } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { bytePathOf, parseDepotPath } from "../../src/core/names.ts";
import { openManifest } from "../../src/manifest/lmdb_manifest.ts";

const BUILD = new URL("../../build/", import.meta.url).pathname;
const EXECUTABLE = Deno.env.get("P4CACHE") ?? `${BUILD}p4-cache-deno`;
const CLIENT = new URL("./client.py", import.meta.url).pathname;
const POLL_MS = 10;

/** Long, because the machine may be busy: only a hang takes it. */
const WAIT_MS_MAX = 120_000;

export interface RigOptions {
  /** Where the depot is to be. Default: in the rig's own directory. */
  readonly depot?: string;
  readonly store?: string;
  /** Merged into the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Environment of the daemon. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface StartOptions {
  readonly crashAt?: string;
  /** False: do not wait until it serves. */
  readonly waits?: boolean;
}

export class Rig implements AsyncDisposable {
  readonly directory: string;
  readonly depot: string;
  readonly store: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #clients = new Set<Client>();
  #config: Record<string, unknown>;
  #daemon: Deno.ChildProcess | null = null;
  #hasEnded: Promise<Deno.CommandStatus> | null = null;

  private constructor(directory: string, options: RigOptions) {
    this.directory = directory;
    this.depot = options.depot ?? `${directory}/depot`;
    this.store = options.store ?? `${directory}/store`;
    this.#env = options.env ?? {};
    this.#config = {
      depot_path: this.depot,
      primary: { type: "nfs", path: this.store, initialize: true },
      min_free_bytes: 0,
      evict_min_age_secs: 5,
      upload_settle_ms: 0,
      delete_grace_secs: 0,
      delete_max_per_hour: 1_000_000,
      rescan_cooldown_secs: 1,
      slow_retry_secs: 10,
      metrics_file: `${directory}/metrics.prom`,
      metrics_interval_secs: 1,
      log_file: `${directory}/daemon.log`,
      ...options.config,
    };
  }

  static async open(options: RigOptions = {}): Promise<Rig> {
    const made = await Deno.makeTempDir({ prefix: "p4cache-crash-" });
    const rig = new Rig(await Deno.realPath(made), options);
    for (const path of [rig.depot, rig.store]) {
      await Deno.mkdir(path, { recursive: true });
    }
    await rig.configure({});
    return rig;
  }

  get pid(): number {
    return this.#daemon!.pid;
  }

  /** Of the daemon's child that runs `program`. */
  helperPid(program: string): number {
    for (const task of Deno.readDirSync(`/proc/${this.pid}/task`)) {
      const path = `/proc/${this.pid}/task/${task.name}/children`;
      for (const child of Deno.readTextFileSync(path).trim().split(" ")) {
        if (child === "") continue;
        const command = Deno.readTextFileSync(`/proc/${child}/cmdline`).split("\0")[0]!;
        if (command.endsWith(`/${program}`)) return Number(child);
      }
    }
    throw new Error(`the daemon has no ${program}`);
  }

  /** Takes effect at the next start, or at {@linkcode reload}. */
  async configure(changes: Readonly<Record<string, unknown>>): Promise<void> {
    this.#config = { ...this.#config, ...changes };
    const path = `${this.directory}/config.json`;
    await Deno.writeTextFile(`${path}.new`, JSON.stringify(this.#config, null, 1));
    await Deno.rename(`${path}.new`, path);
  }

  async reload(changes: Readonly<Record<string, unknown>>): Promise<void> {
    const applied = this.logCount("configuration applied");
    await this.configure(changes);
    this.#daemon!.kill("SIGHUP");
    await until(
      "the configuration is applied",
      () => this.logCount("configuration applied") > applied,
    );
  }

  /** Resolves when the daemon serves, or when it is gone. */
  async start({ crashAt, waits = true }: StartOptions = {}): Promise<"ready" | "gone"> {
    const readyBefore = this.logCount(" ready ");
    await Deno.remove(`${this.directory}/metrics.prom`).catch(() => {});
    const stderr = await Deno.open(`${this.directory}/daemon.err`, {
      create: true,
      append: true,
    });
    stderr.close();
    this.#daemon = new Deno.Command("sh", {
      args: [
        "-c",
        'exec "$0" run --config "$1" 2>> "$2"',
        EXECUTABLE,
        `${this.directory}/config.json`,
        `${this.directory}/daemon.err`,
      ],
      env: {
        ...this.#env,
        ...(crashAt === undefined ? {} : { P4CACHE_CRASH_AT: crashAt }),
      },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let isGone = false;
    this.#hasEnded = this.#daemon.status.finally(() => isGone = true);
    if (!waits) return "ready";
    await until(
      "the daemon serves or is gone",
      () => isGone || this.logCount(" ready ") > readyBefore,
    );
    return isGone ? "gone" : "ready";
  }

  /** Whether the daemon ended by itself within `ms`. */
  async endsWithin(ms: number): Promise<boolean> {
    const timeout = Promise.withResolvers<"late">();
    const timer = setTimeout(() => timeout.resolve("late"), ms);
    const first = await Promise.race([this.#hasEnded!, timeout.promise]);
    clearTimeout(timer);
    return first !== "late";
  }

  /** Ends the daemon, if it did not end by itself. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<Deno.CommandStatus> {
    const daemon = this.#daemon!;
    try {
      daemon.kill(signal);
    } catch (error) {
      // It is gone already.
      if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) {
        throw error;
      }
    }
    const status = await this.#hasEnded!;
    this.#daemon = null;
    this.#hasEnded = null;
    return status;
  }

  /** A command line of p4-cache, to its end. */
  async cli(...args: string[]): Promise<{ code: number; output: string }> {
    const { code, stdout, stderr } = await new Deno.Command(EXECUTABLE, {
      args: [...args, "--config", `${this.directory}/config.json`],
      env: { ...this.#env },
      stdin: "null",
    }).output();
    const output = Buffer.from(stdout).toString() + Buffer.from(stderr).toString();
    return { code, output };
  }

  /** A program with the shim in it, that reads and unlinks. */
  client(): Client {
    const client = new Client(
      new Deno.Command("env", {
        args: [
          `LD_PRELOAD=${BUILD}libp4shim.so`,
          `P4CACHE_DEPOT=${this.depot}`,
          "python3",
          CLIENT,
        ],
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
      }).spawn(),
    );
    this.#clients.add(client);
    return client;
  }

  get log(): string {
    try {
      return Deno.readTextFileSync(`${this.directory}/daemon.log`);
    } catch {
      return "";
    }
  }

  /** What daemons said before they could log, the last part of it. */
  get stderr(): string {
    return Deno.readTextFileSync(`${this.directory}/daemon.err`).slice(-3_000);
  }

  logCount(text: string): number {
    return this.log.split(text).length - 1;
  }

  /** NaN while the running daemon has not written it yet. */
  metric(line: string): number {
    let text = "";
    try {
      text = Deno.readTextFileSync(`${this.directory}/metrics.prom`);
    } catch {
      return NaN;
    }
    const found = text.split("\n").find((it) => it.startsWith(`${line} `));
    return found === undefined ? NaN : Number(found.slice(line.length + 1));
  }

  #metricsWrittenMs(): number {
    try {
      return Deno.statSync(`${this.directory}/metrics.prom`).mtime!.getTime();
    } catch {
      return 0;
    }
  }

  /** Everything is in the store, and nobody has to decide anything. */
  async drained(): Promise<void> {
    const at = (state: string): number => this.metric(`p4cache_files{state="${state}"}`);
    // Not those of before: while a daemon could not write them, they tell of other times.
    const writtenMs = this.#metricsWrittenMs();
    const isDrained = (): boolean =>
      this.#metricsWrittenMs() > writtenMs && at("dirty") === 0 &&
      at("uploading") === 0 && at("clean") === at("total");
    // As long as it goes on, however slow the machine is.
    for (let cleanFiles = -1; !isDrained();) {
      await until(
        "more is uploaded",
        () => isDrained() || at("clean") > cleanFiles,
        () =>
          `dirty ${at("dirty")}, uploading ${at("uploading")}, clean ${at("clean")} of ` +
          `${at("total")}, conflicts ${this.metric("p4cache_conflicts")}`,
      );
      cleanFiles = at("clean");
    }
    const conflicts = this.metric("p4cache_conflicts");
    if (conflicts !== 0) throw new Error(`${conflicts} files wait for a decision`);
  }

  /**
   * What the dead daemon had begun: rows that were not clean, files in its own directories.
   * Reads only, so that the next start finds everything as it was left.
   */
  async inFlight(): Promise<number> {
    let count = 0;
    for (const name of ["tmp", "evicting"]) {
      count += entriesOf(`${this.depot}/.p4cache/${name}`).length;
    }
    try {
      const manifest = await openManifest({
        directory: `${this.depot}/.p4cache/manifest`,
        readOnly: true,
      });
      const { dirtyFiles, uploadingFiles } = manifest.counters();
      await manifest.close();
      return count + dirtyFiles + uploadingFiles;
    } catch (error) {
      // Killed before there was a manifest.
      if (error instanceof Error && error.name === "ManifestError") return count;
      throw error;
    }
  }

  /** The manifest knows every file as it is on the disk: no event or scan is outstanding. */
  async settled(): Promise<void> {
    const deadlineMs = performance.now() + WAIT_MS_MAX;
    for (let unknown = ""; (unknown = await this.#unknownName()) !== "";) {
      if (performance.now() > deadlineMs) {
        throw new Error(`the manifest still does not know "${unknown}" as it is`);
      }
      await sleep(200);
    }
    await this.drained();
    await this.#checkCounters();
  }

  /** What the manifest counts as it goes is what a recount gives. */
  async #checkCounters(): Promise<void> {
    const manifest = await openManifest({
      directory: `${this.depot}/.p4cache/manifest`,
      readOnly: true,
    });
    try {
      const { kept, counted } = await manifest.recount();
      deepStrictEqual(kept, counted);
    } finally {
      await manifest.close();
    }
  }

  /** A name whose row is not what the disk has, or an empty text. */
  async #unknownName(): Promise<string> {
    const manifest = await openManifest({
      directory: `${this.depot}/.p4cache/manifest`,
      readOnly: true,
    });
    try {
      for (const { path, isMarker } of this.names()) {
        const entry = manifest.get(parseDepotPath(bytePathOf(path)));
        const { ino } = Deno.lstatSync(`${this.depot}/${path}`);
        const isKnown = entry !== null && entry.resident !== isMarker &&
          (isMarker || entry.local.ino === BigInt(ino!));
        if (!isKnown) return path;
      }
      return "";
    } finally {
      await manifest.close();
    }
  }

  /** The next start is after a reboot of the machine, as far as the daemon can tell. */
  async forgetBoot(): Promise<void> {
    const directory = `${this.depot}/.p4cache/manifest`;
    const manifest = await openManifest({ directory });
    await manifest.setMeta("boot_id", "of another boot");
    await manifest.close();
  }

  /** Names below the depot, markers and files alike, the daemon's own directory left out. */
  *names(): Generator<{ path: string; isMarker: boolean }> {
    yield* namesBelow(this.depot, "");
  }

  /** Removes everything of the depot but the daemon's own directory. */
  async wipeDepot(): Promise<void> {
    for (const name of entriesOf(this.depot)) {
      if (name !== ".p4cache") {
        await Deno.remove(`${this.depot}/${name}`, { recursive: true });
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close();
    if (this.#daemon !== null) await this.end("SIGKILL");
    if (Deno.env.get("KEEP") === "1") {
      // deno-lint-ignore no-console -- asked for
      console.log(`kept: ${this.directory}`);
    } else await Deno.remove(this.directory, { recursive: true });
  }
}

function entriesOf(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function* namesBelow(
  root: string,
  below: string,
): Generator<{ path: string; isMarker: boolean }> {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(`${root}/${below}`)) {
    if (below === "" && name === ".p4cache") continue;
    const path = below === "" ? name : `${below}/${name}`;
    if (isDirectory) yield* namesBelow(root, path);
    else yield { path, isMarker: !isFile };
  }
}

export type Reply =
  | { readonly sha256: string }
  | { readonly ok: true }
  | { readonly errno: string };

/** One request at a time; callers that come meanwhile wait. */
export class Client {
  readonly #process: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncGenerator<string>;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#writer = process.stdin.getWriter();
    this.#lines = linesOf(process.stdout);
  }

  get waitingCount(): number {
    return this.#waiting;
  }

  ask(op: "read" | "unlink", path: string): Promise<Reply> {
    this.#waiting += 1;
    const reply = this.#last.then(async () => {
      const line = JSON.stringify({ op, path }) + "\n";
      await this.#writer.write(new TextEncoder().encode(line));
      const { value, done } = await this.#lines.next();
      if (done) throw new Error("the client program ended");
      return JSON.parse(value) as Reply;
    }).finally(() => this.#waiting -= 1);
    this.#last = reply.catch(() => {});
    return reply;
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#writer.close().catch(() => {});
    await this.#lines.return(undefined);
    await this.#process.status;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}

/** Polls: files and processes of others have no event to await. */
export async function until(
  what: string,
  isDone: () => boolean,
  describe: () => string = () => "",
): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS_MAX;
  while (!isDone()) {
    if (performance.now() > deadlineMs) {
      throw new Error(`gave up waiting until ${what} (${describe()})`);
    }
    await sleep(POLL_MS);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
