/**
 * What goes on around programs while they work on a depot: files are evicted and restored, the
 * daemon and its helpers die and come back, and, with faults, the store fails and the daemon
 * hangs.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { ok, strictEqual } from "node:assert/strict";
import { linesOfAnswer } from "../../src/cli/daemon_connection.ts";
import { encodeControlRequest } from "../../src/wire/control.ts";
import type { Random } from "../crash/random.ts";
import { type Rig, sleep, until } from "../crash/rig.ts";
import { CONTROL } from "./trial.ts";

const PAUSE_MS = { from: 200, to: 1_500 };

export interface ChaosOptions {
  readonly rig: Rig;
  readonly random: Random;
  readonly controlPath: string;
  readonly hasFaults: boolean;
}

/** The last line of the daemon's answer; null if it does not answer. */
async function ask(rig: Rig, line: string): Promise<string | null> {
  let last: string | null = null;
  try {
    const socket = `${rig.depot}/.p4cache/shim.sock`;
    for await (const text of linesOfAnswer(socket, line, AbortSignal.timeout(120_000))) {
      last = text;
    }
  } catch {
    // Between two lives of it.
  }
  return last;
}

/** Everything that is clean and old enough goes, also what is too small to be over a limit. */
export async function evictAll(rig: Rig): Promise<void> {
  await ask(rig, encodeControlRequest({ op: "evict", selection: "", dryRun: false })!);
}

/** Resolves when the scan of the start is over, and everything that may be is uploaded. */
export async function drainAll(rig: Rig): Promise<void> {
  const answer = await ask(rig, encodeControlRequest({ op: "drain", wait: true })!);
  ok(answer?.startsWith("OK "), `the daemon does not drain: ${answer}`);
}

/**
 * Takes the local version of every file that waits for a decision: what was written while the
 * watcher was dead, and given an old mtime, is a conflict by rule.
 */
export async function acceptConflicts(rig: Rig): Promise<number> {
  for (let accepted = 0;;) {
    const line = await ask(rig, encodeControlRequest({ op: "conflicts", cursor: null })!);
    ok(line?.startsWith("OK "), `no list of conflicts: ${line}`);
    const { items } = JSON.parse(line!.slice(3)) as { items: { path: string }[] };
    if (items.length === 0) return accepted;
    for (const { path } of items) {
      const request = encodeControlRequest({ op: "accept", path, dryRun: false })!;
      const answer = await ask(rig, request);
      ok(answer?.startsWith("OK "), `cannot accept ${path}: ${answer}`);
      accepted += 1;
    }
  }
}

export class Chaos {
  readonly #options: ChaosOptions;
  readonly #control: Deno.FsFile;
  /** How often each thing was done. */
  readonly done = new Map<string, number>();
  #ended = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  constructor(options: ChaosOptions) {
    this.#options = options;
    this.#control = Deno.openSync(options.controlPath, { read: true, write: true });
  }

  start(): void {
    this.#loop = this.#run();
    this.#loop.catch(() => {}); // stop() tells
  }

  /** Ends what is going on: the daemon serves and the store is whole when this resolves. */
  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#loop;
  }

  close(): void {
    this.#control.close();
  }

  async #run(): Promise<void> {
    const { random, hasFaults } = this.#options;
    const usual: (() => Promise<void>)[] = [
      ...Array(6).fill(() => this.#evict()),
      ...Array(3).fill(() => this.#restore()),
      () => this.#restart("SIGTERM"),
      () => this.#restart("SIGKILL"),
      () => this.#killGate(),
      () => this.#killWatcher(),
    ];
    const faults: (() => Promise<void>)[] = [
      () => this.#storeGoesAway(),
      () => this.#objectsAreDamaged(),
      () => this.#objectsAreDamaged(),
      () => this.#daemonHangs(),
    ];
    while (!this.#ended.signal.aborted) {
      await random.pick(hasFaults ? [...usual, ...faults] : usual)();
      await sleep(random.between(PAUSE_MS.from, PAUSE_MS.to));
    }
  }

  #count(what: string): void {
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
  }

  #ask(line: string): Promise<string | null> {
    return ask(this.#options.rig, line);
  }

  async #evict(): Promise<void> {
    this.#count("evict");
    await evictAll(this.#options.rig);
  }

  async #restore(): Promise<void> {
    const { rig, random } = this.#options;
    const files = await filesOf(rig.depot);
    const markers = files.filter(({ kind }) => kind === "s").map(({ path }) => path);
    for (let i = random.between(1, 20); i > 0 && markers.length > 0; i--) {
      this.#count("restore");
      await this.#ask(`P4CACHE/1 FETCH ${random.pick(markers)}`);
    }
  }

  /**
   * What was renamed while nobody watches comes back under its old name when the daemon
   * starts (docs/semantics.md): so no rename begins before the next one serves, and those
   * before are known. Everything else goes on.
   */
  async #quietNames(action: () => Promise<void>): Promise<void> {
    this.#control.seekSync(CONTROL.hold, Deno.SeekMode.Start);
    this.#control.writeSync(new Uint8Array([1, 0, 0, 0]));
    try {
      await until("no rename is under way", () => this.#word(CONTROL.inStructure) === 0);
      await this.#catchUp();
      await action();
    } finally {
      this.#control.seekSync(CONTROL.hold, Deno.SeekMode.Start);
      this.#control.writeSync(new Uint8Array([0, 0, 0, 0]));
    }
  }

  /** The daemon takes in what happened before it answers a delete; this one is of nothing. */
  async #catchUp(): Promise<void> {
    const answer = await this.#ask("P4CACHE/1 DELETE own/no such file,v");
    ok(answer?.startsWith("ERR NOTFOUND "), `the daemon does not catch up: ${answer}`);
  }

  #word(at: number): number {
    const bytes = new Uint8Array(4);
    this.#control.seekSync(at, Deno.SeekMode.Start);
    this.#control.readSync(bytes);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  async #restart(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const { rig, random } = this.#options;
    await this.#quietNames(async () => {
      this.#count(signal);
      await rig.end(signal);
      await sleep(random.between(0, 1_000));
      strictEqual(await rig.start(), "ready", rig.stderr);
    });
  }

  async #killGate(): Promise<void> {
    const { rig } = this.#options;
    this.#count("gate killed");
    const old = rig.helperPid("p4-cache-gate");
    Deno.kill(old, "SIGKILL");
    await until("the gate is there again", () => {
      try {
        return rig.helperPid("p4-cache-gate") !== old;
      } catch {
        return false;
      }
    });
    while (await this.#ask("P4CACHE/1 STAT own/no such file,v") === null) await sleep(10);
  }

  async #killWatcher(): Promise<void> {
    const { rig } = this.#options;
    await this.#quietNames(async () => {
      this.#count("watcher killed");
      const old = rig.helperPid("p4-cache-fanotify");
      Deno.kill(old, "SIGKILL");
      await until("the watcher is there again", () => {
        try {
          return rig.helperPid("p4-cache-fanotify") !== old;
        } catch {
          return false;
        }
      });
      await this.#catchUp();
    });
  }

  async #storeGoesAway(): Promise<void> {
    const { rig, random } = this.#options;
    this.#count("store away");
    await Deno.rename(rig.store, `${rig.store}.away`);
    await sleep(random.between(500, 4_000));
    await Deno.rename(`${rig.store}.away`, rig.store);
  }

  /** Objects of evicted files are lost, cut short or changed for a while. */
  async #objectsAreDamaged(): Promise<void> {
    const { rig, random } = this.#options;
    const objects = random.shuffled([...filesBelow(rig.store)]).slice(0, 40);
    const kept: Damaged[] = [];
    for (const path of objects) {
      const damaged = damage(path, random.between(0, 2));
      if (damaged === null) continue;
      kept.push(damaged);
      this.#count("object damaged");
    }
    await sleep(random.between(500, 3_000));
    for (const object of kept) mend(object);
  }

  async #daemonHangs(): Promise<void> {
    const { rig, random } = this.#options;
    this.#count("daemon hung");
    Deno.kill(rig.pid, "SIGSTOP");
    await sleep(random.between(500, 7_000));
    Deno.kill(rig.pid, "SIGCONT");
  }
}

interface Damaged {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly mtime: Date;
}

/** Flips a bit, cuts a byte off, or takes the object away. Null if there is nothing to damage. */
function damage(path: string, how: number): Damaged | null {
  try {
    const bytes = Deno.readFileSync(path);
    const mtime = Deno.statSync(path).mtime!;
    if (bytes.length === 0) return null;
    if (how === 2) Deno.renameSync(path, `${path}.lost`);
    else {
      const bad = bytes.slice(0, bytes.length - how);
      if (bad.length > 0) bad[bad.length >> 1]! ^= 1;
      rewrite({ path, bytes: bad, mtime });
    }
    return { path, bytes, mtime };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Unless the daemon has removed it, or put another in its place. */
function mend(object: Damaged): void {
  try {
    Deno.linkSync(`${object.path}.lost`, object.path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) rewrite(object);
    else if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  try {
    Deno.removeSync(`${object.path}.lost`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** In place: its sidecar tells the object by size and mtime. Nothing if it is gone. */
function rewrite({ path, bytes, mtime }: Damaged): void {
  try {
    Deno.writeFileSync(path, bytes, { create: false });
    Deno.utimeSync(path, mtime, mtime);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** What lies in a depot that is no directory. Names have one character per byte. */
export interface Found {
  readonly path: string;
  /** As find says it: f, l, s. */
  readonly kind: string;
  readonly links: number;
}

export async function filesOf(depot: string): Promise<Found[]> {
  const { stdout } = await new Deno.Command("find", {
    args: [
      depot,
      ..."-name .p4cache -prune -o ! -type d -printf %y\\t%n\\t%P\\0".split(" "),
    ],
    stderr: "null", // a directory that goes away meanwhile
  }).output();
  return Buffer.from(stdout).toString("latin1").split("\0").slice(0, -1).map((line) => {
    const [kind, links, path] = line.split("\t");
    return { kind: kind!, links: Number(links), path: path! };
  });
}

function* filesBelow(directory: string): Generator<string> {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(directory)) {
    if (name.startsWith(".")) continue;
    if (isDirectory) yield* filesBelow(`${directory}/${name}`);
    else if (isFile) yield `${directory}/${name}`;
  }
}
