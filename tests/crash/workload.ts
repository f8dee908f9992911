/**
 * What p4d does to a depot, and a record of it: files are written beside their name,
 * flushed and renamed over it; `,v` files are written again and again, files below `,d`
 * once; some are unlinked through the shim, a few renamed. Each version's digest goes to a
 * journal outside the depot before the next operation begins.
 *
 * The record says at each moment which digests a reader may see.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { SMALL_BYTES_MAX } from "../../src/engine/bring_back.ts";
import type { Random } from "./random.ts";
import { type Client, type Reply, type Rig, sleep } from "./rig.ts";

/** A state that a name was in, in the order of time. Null: unlinked. */
type Version = string | null;

export interface Verdict {
  readonly path: string;
  readonly kind: "lost" | "wrong";
  readonly detail: string;
}

export interface WorkloadOptions {
  /**
   * Largest file, in bytes; most are far smaller. By default a few are larger than what a
   * restore keeps in memory.
   */
  readonly sizeMax?: number;
  /** Pause between two operations, in milliseconds, at most. */
  readonly pauseMsMax?: number;
}

export class Workload {
  readonly verdicts: Verdict[] = [];
  versionsWritten = 0;
  /** Names whose marker somebody removed: absent while no daemon runs. */
  readonly mayBeAbsent = new Set<string>();
  reads = 0;
  /** A read that ends in an error is no loss: the disk below it fails on purpose. */
  toleratesErrors = false;
  readonly #rig: Rig;
  readonly #random: Random;
  readonly #hasHuge: boolean;
  readonly #options: Required<WorkloadOptions>;
  readonly #journal: Deno.FsFile;
  readonly #versions = new Map<string, Version[]>();
  /** Names about which more than their last version may be true: renamed away. */
  readonly #loose = new Set<string>();
  /** Where a file went, and where it came from. */
  readonly #renamed = new Map<string, string>();
  readonly #writable: string[] = [];
  readonly #clients: Client[];
  #areRenamesKnown = true;
  #isGoing = false;
  #failure: unknown = null;
  #loops: Promise<unknown> = Promise.resolve();
  #nextId = 0;

  constructor(rig: Rig, random: Random, options: WorkloadOptions = {}) {
    this.#rig = rig;
    this.#random = random;
    this.#hasHuge = options.sizeMax === undefined;
    this.#options = { sizeMax: 400_000, pauseMsMax: 15, ...options };
    this.#journal = Deno.openSync(`${rig.directory}/journal.jsonl`, {
      create: true,
      append: true,
    });
    this.#clients = [rig.client(), rig.client(), rig.client()];
  }

  get names(): string[] {
    return [...this.#versions.keys()];
  }

  /** Reads and unlinks that wait for an answer now. */
  get waitingCount(): number {
    return this.#clients.reduce((sum, { waitingCount }) => sum + waitingCount, 0);
  }

  start(): void {
    this.#isGoing = true;
    const [first, ...others] = this.#clients;
    const loops = [this.#write(first!), ...others.map((client) => this.#read(client))];
    this.#loops = Promise.all(loops);
    this.#loops.catch((error) => this.#failure ??= error);
  }

  /** A loop that failed would leave the others waiting for what never comes. */
  throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  async stop(): Promise<void> {
    this.#isGoing = false;
    await this.#loops;
  }

  async close(): Promise<void> {
    await this.stop();
    for (const client of this.#clients) await client.close();
    this.#journal.close();
  }

  async #write(client: Client): Promise<void> {
    while (this.#isGoing) {
      const dice = this.#random.next();
      if (dice < 0.6 || this.#writable.length < 5) await this.writeNew();
      else if (dice < 0.75) await this.#rewrite(this.#random.pick(this.#writable));
      else if (dice < 0.88) await this.#rewriteHot();
      else if (dice < 0.96) this.#unlinkSome(client);
      else await this.#renameFresh();
      await sleep(this.#random.next() * this.#options.pauseMsMax);
    }
  }

  async #read(client: Client): Promise<void> {
    while (this.#isGoing) {
      const { names } = this;
      if (names.length > 0) await this.check(client, this.#random.pick(names));
      await sleep(this.#random.next() * this.#options.pauseMsMax);
    }
  }

  async writeNew(): Promise<string> {
    const id = this.#nextId++;
    const directory = `d${id % 7}/grün ${id % 3}`;
    const path = id % 3 === 0
      ? `${directory}/f${id}.bin,d/1.${id}.gz`
      : `${directory}/f${id}.c,v`;
    await this.#put(path);
    if (path.endsWith(",v")) this.#writable.push(path);
    return path;
  }

  async #rewrite(path: string): Promise<void> {
    if (this.#current(path) !== null) await this.#put(path);
  }

  /** The same few files at once and again: they change while they are uploaded. */
  async #rewriteHot(): Promise<void> {
    const path = this.#writable[this.#random.between(0, 2)]!;
    for (let i = this.#random.between(2, 6); i > 0; i--) await this.#rewrite(path);
  }

  #size(): number {
    const { sizeMax } = this.#options;
    const share = this.#random.next();
    if (share < 0.03 && this.#hasHuge) {
      return SMALL_BYTES_MAX + this.#random.between(1, 100_000);
    }
    return this.#random.between(0, Math.ceil(share < 0.1 ? sizeMax : sizeMax / 40));
  }

  /** As lib/rcs writes: temporary file, flush, rename; then the record, flushed. */
  async #put(path: string): Promise<void> {
    const bytes = this.#random.bytes(this.#size());
    const digest = createHash("sha256").update(bytes).digest("hex");
    const target = `${this.#rig.depot}/${path}`;
    const directory = target.slice(0, target.lastIndexOf("/"));
    await Deno.mkdir(directory, { recursive: true });
    const temporary = `${directory}/tmp.${Deno.pid}.${this.versionsWritten++}`;
    const file = await Deno.open(temporary, { createNew: true, write: true });
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
    file.close();
    this.#publish(temporary, path, digest);
    await this.#record({ op: "write", path, sha256: digest, size: bytes.length });
  }

  /** In one turn: no reader can be ahead of the record. */
  #publish(temporary: string, path: string, digest: Version): void {
    Deno.renameSync(temporary, `${this.#rig.depot}/${path}`);
    this.#became(path, digest);
  }

  /**
   * As a daemon leaves it that is killed in the middle of an eviction's exchange, when a new
   * version took the name right before: that version aside, the marker under the name, and
   * the note of helpers/posix/note.c. In one turn; nobody else has seen the name meanwhile.
   */
  async hideNewVersion(markers: readonly string[]): Promise<void> {
    const path = this.#random.pick(markers.filter((it) => this.#writable.includes(it)));
    const { depot } = this.#rig;
    const bytes = this.#random.bytes(this.#random.between(1, 10_000));
    const digest = createHash("sha256").update(bytes).digest("hex");
    const stat = new Deno.Command("stat", {
      args: ["--format=%i %.9Y", `${depot}/${path}`],
    }).outputSync();
    const [ino, mtime] = new TextDecoder().decode(stat.stdout).trim().split(" ");
    const aside = `${depot}/.p4cache/evicting/hidden${this.versionsWritten++}.1.1.1`;
    Deno.writeFileSync(aside, bytes);
    const put = `140000 ${ino} 0 ${mtime!.replace(".", "")}`;
    Deno.symlinkSync(`1 0 ${put} 100000 1 1 1 ${depot}/${path}`, `${aside}.note`);
    this.#became(path, digest);
    await this.#record({ op: "write", path, sha256: digest, size: bytes.length });
  }

  #unlinkSome(client: Client): void {
    // Not the hot ones, which the rewriting needs.
    const candidates = this.names.filter((path) =>
      this.#current(path) !== null && !this.#loose.has(path) &&
      !this.#writable.slice(0, 3).includes(path)
    );
    if (candidates.length < 30) return;
    const path = this.#random.pick(candidates);
    const at = this.#writable.indexOf(path);
    if (at >= 0) this.#writable.splice(at, 1);
    this.#became(path, null);
    // A DELETE that a kill kept from arriving brings the file back: not lost, not wrong.
    this.#loose.add(path);
    // Not awaited: a program that waits for a dead daemon does not stop the others.
    this.#unlink(client, path);
  }

  #unlink(client: Client, path: string): void {
    client.ask("unlink", `${this.#rig.depot}/${path}`).then((reply) => {
      if ("errno" in reply && reply.errno !== "ENOENT" && !this.toleratesErrors) {
        this.#judge(path, "lost", `unlink: ${reply.errno}`);
      }
      return this.#record({ op: "unlink", path });
    }).catch((error) => this.#judge(path, "lost", `${error}`));
  }

  async #renameFresh(): Promise<void> {
    const from = await this.writeNew();
    const to = from.replace(/[^/]*$/, "moved.$&");
    // Its events should be over: this is to move a row, not only a file.
    await sleep(this.#random.between(0, 600));
    this.#loose.add(from);
    this.#publish(`${this.#rig.depot}/${from}`, to, this.#current(from));
    this.#became(from, null);
    this.#renamed.set(to, from);
    const at = this.#writable.indexOf(from);
    if (at >= 0) this.#writable.splice(at, 1);
    await this.#record({ op: "rename", path: to, from });
  }

  #became(path: string, version: Version): void {
    const versions = this.#versions.get(path);
    if (versions === undefined) this.#versions.set(path, [version]);
    else versions.push(version);
  }

  #current(path: string): Version {
    return this.#versions.get(path)?.at(-1) ?? null;
  }

  async #record(record: Readonly<Record<string, unknown>>): Promise<void> {
    const line = new TextEncoder().encode(JSON.stringify(record) + "\n");
    await this.#journal.write(line);
    await this.#journal.syncData();
  }

  /** Reads through the shim and compares with what was there while the read took place. */
  async check(client: Client, path: string): Promise<void> {
    const versions = this.#versions.get(path)!;
    const first = Math.max(0, versions.length - 1);
    let reply = await client.ask("read", `${this.#rig.depot}/${path}`);
    const from = this.#areRenamesKnown ? undefined : this.#renamed.get(path);
    if ("errno" in reply && reply.errno === "ENOENT" && from !== undefined) {
      reply = await client.ask("read", `${this.#rig.depot}/${from}`);
    }
    this.reads += 1;
    this.#compare(path, reply, versions.slice(first));
  }

  #compare(path: string, reply: Reply, possible: readonly Version[]): void {
    const isLoose = this.#loose.has(path);
    if ("errno" in reply) {
      const mayBeAbsent = isLoose || possible.includes(null) ||
        this.mayBeAbsent.has(path);
      const isTolerated = this.toleratesErrors && reply.errno !== "ENOENT";
      if (!isTolerated && (reply.errno !== "ENOENT" || !mayBeAbsent)) {
        this.#judge(path, "lost", reply.errno);
      }
      return;
    }
    if (!("sha256" in reply)) throw new Error("a read was answered as an unlink");
    const known = isLoose ? this.#versions.get(path)! : possible;
    if (!known.includes(reply.sha256)) {
      const stale = this.#versions.get(path)!.indexOf(reply.sha256);
      const what = stale < 0 ? "bytes that nobody wrote" : `its version ${stale}`;
      this.#judge(path, "wrong", `read ${what} of ${this.#versions.get(path)!.length}`);
    }
  }

  #judge(path: string, kind: Verdict["kind"], detail: string): void {
    const at = new Date().toISOString();
    this.verdicts.push({ path, kind, detail: `${detail} at ${at}` });
    // deno-lint-ignore no-console -- as it happens, to be found in the daemon's log
    console.log(`${kind}: ${path}: ${detail} at ${at}`);
  }

  /**
   * From here on a file that was renamed after its upload may stand under its first name,
   * after which its object is named: of the rename only the manifest and the disk knew.
   */
  forgetRenames(): void {
    this.#areRenamesKnown = false;
  }

  /** Every name, once; the workload must not be going. */
  async checkAll(): Promise<void> {
    const { names } = this;
    const readers = this.#clients.map(async (client) => {
      for (let path = names.pop(); path !== undefined; path = names.pop()) {
        await this.check(client, path);
      }
    });
    await Promise.all(readers);
  }

  count(kind: Verdict["kind"]): number {
    return this.verdicts.filter((verdict) => verdict.kind === kind).length;
  }
}
