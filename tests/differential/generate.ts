/**
 * Random scripts for actors (actor/actor.h has what runs them). Each thread works in a
 * subtree of its own, on one group of its files at a time, so that the others grow old enough
 * to be evicted; now and then it joins the others on shared files.
 *
 * What a script may not do, because docs/semantics.md puts it outside the contract: change a
 * file in place that it also holds open for reading (an eviction in between makes it another
 * inode), and rename a directory out of the depot.
 *
 * @module
 */

import type { Random } from "../crash/random.ts";

export const GROUPS = 8;
export const SHARED_NAMES = 24;
export const SHARED_LOGS = 24;

const FILES = [
  "a,v",
  "b.bin",
  "c d",
  "\xe9\x80.txt",
  "s/1.1",
  "s/tmp.2,v",
  "s,d/1.1.gz",
  "s,d/1.2.gz",
  "n/1.1",
  "n/journal.c,v",
];
const DIRECTORIES = ["s", "s,d", "n"];
/** Held open for reading; replaced and renamed, never changed in place. */
const KEPT = ["h0,v", "h1,v"];
const LINKS = ["l0", "l1"];
const TARGETS = ["a,v", "s", "s/1.1", "../g3/a,v", "missing", "l1", "l0", "s,d/1.1.gz"];
const OUTSIDE = ["^o0", "^o1"];

const GROUP_OPS = { from: 60, to: 400 };
const HELD_OPS = { from: 3, to: 40 };
const WRITE_SLOTS = [2, 3];

type Line = readonly (string | number)[];

/** One operation a line, as a thread runs them. */
export interface ThreadScript {
  readonly stem: string;
  readonly lines: readonly string[];
}

/** How many threads each process has: every other one forks and changes directory instead. */
export function threadsOf(process: number): number {
  return process % 2 === 0 ? 1 : 3;
}

/** What has to be there first. */
export function populate(random: Random, isFirst: boolean): string[] {
  const lines: Line[] = [];
  for (let g = 0; g < GROUPS; g++) {
    lines.push(["mkdir", "a", `g${g}`, 0o755]);
    for (const name of DIRECTORIES.slice(0, 2)) {
      lines.push(["mkdir", "a", `g${g}/${name}`, 0o755]);
    }
    for (const name of [...FILES, ...KEPT].filter((it) => !it.startsWith("n/"))) {
      const size = sizeOf(random);
      lines.push([
        "open",
        "open",
        "a",
        `g${g}/${name}`,
        "wc",
        0o644,
        size,
        seedOf(random),
        0,
      ]);
    }
  }
  if (isFirst) {
    for (let n = 0; n < SHARED_NAMES; n++) lines.push(["sput", n, sizeOf(random)]);
    for (let n = 0; n < SHARED_LOGS; n++) lines.push(["sappend", n]);
  }
  return lines.map((line) => line.join("\t"));
}

/** @param isAlone The only thread of its process, which may fork, exec and chdir. */
export function generate(random: Random, count: number, isAlone: boolean): string[] {
  const script = new ScriptWriter(random, isAlone);
  while (script.lines.length < count) script.next();
  return script.lines;
}

function sizeOf(random: Random): number {
  const dice = random.next();
  if (dice < 0.08) return 0;
  if (dice < 0.5) return random.between(1, 200);
  if (dice < 0.94) return random.between(200, 8_192);
  return random.between(8_192, dice < 0.99 ? 70_000 : 300_000);
}

function seedOf(random: Random): number {
  return random.between(1, 1_000_000_000);
}

class ScriptWriter {
  readonly lines: string[] = [];
  readonly #random: Random;
  readonly #isAlone: boolean;
  #group = 0;
  #leftInGroup = 0;
  /** Operations until a held descriptor is closed, by slot. */
  readonly #held = new Map<number, number>();

  constructor(random: Random, isAlone: boolean) {
    this.#random = random;
    this.#isAlone = isAlone;
  }

  #put(...line: Line): void {
    this.lines.push(line.join("\t"));
  }

  next(): void {
    this.#closeHeld();
    if (this.#leftInGroup-- <= 0) {
      this.#group = this.#random.between(0, GROUPS - 1);
      this.#leftInGroup = this.#random.between(GROUP_OPS.from, GROUP_OPS.to);
      if (this.#isAlone && this.#random.next() < 0.5) {
        this.#put("chdir", this.#random.pick(["", `g${this.#group}`]));
      }
    }
    const dice = this.#random.next();
    if (dice < 0.26) this.#content();
    else if (dice < 0.52) this.#look();
    else if (dice < 0.72) this.#names();
    else if (dice < 0.82) this.#attributes();
    else if (dice < 0.89) this.#kept();
    else if (dice < 0.92) this.#process();
    else this.#shared();
  }

  #closeHeld(): void {
    for (const [slot, left] of this.#held) {
      if (left > 0) this.#held.set(slot, left - 1);
      else {
        this.#put("release", slot);
        this.#held.delete(slot);
      }
    }
  }

  #hold(slot: number, path: string, flags: string): void {
    this.#put("hold", slot, this.#how(), path, flags);
    this.#held.set(slot, this.#random.between(HELD_OPS.from, HELD_OPS.to));
  }

  #how(): string {
    return this.#random.pick(
      this.#isAlone ? ["a", "a", "l", "d", "r", "r"] : ["a", "a", "l", "d"],
    );
  }

  #inGroup(names: readonly string[]): string {
    const group = this.#random.next() < 0.94
      ? this.#group
      : this.#random.between(0, GROUPS - 1);
    return `g${group}/${this.#random.pick(names)}`;
  }

  /** A file's name, now and then by a link, by dots, or what no file has. */
  #file(): string {
    const dice = this.#random.next();
    if (dice < 0.9) return this.#inGroup(FILES);
    if (dice < 0.94) return this.#inGroup(LINKS);
    if (dice < 0.95) return this.#random.pick(OUTSIDE);
    if (dice < 0.96) return this.#inGroup(["tmp.1", "none/a,v", "a,v/"]);
    if (dice < 0.97) return this.#inGroup([`${"x".repeat(256)},v`]);
    return this.#inGroup(["./a,v", "s/../b.bin", "s/..//s/1.1", "../g1/a,v", "l0/1.1"]);
  }

  #seed(): number {
    return seedOf(this.#random);
  }

  /** A time that scripts set and clocks do not show; 0: the clock's. */
  #mtime(): number {
    return this.#random.next() < 0.5 ? 0 : this.#random.between(1, 1_500_000_000);
  }

  #content(): void {
    const random = this.#random;
    const dice = random.next();
    const size = sizeOf(random);
    if (dice < 0.66) {
      this.#put(
        "open",
        random.pick([
          "open",
          "open64",
          "openat",
          "openat64",
          "__open_2",
          "__openat_2",
          "creat",
        ]),
        this.#how(),
        this.#file(),
        random.pick([
          ...["r", "r", "r", "r", "r", "r", "rn", "rd", "rp", "rt"],
          ...[
            "w",
            "rw",
            "rwc",
            "wc",
            "wct",
            "wt",
            "wa",
            "wca",
            "wcx",
            "rwcx",
            "wcn",
            "ws",
          ],
        ]),
        random.pick([0o644, 0o600, 0o444, 0o755]),
        size,
        this.#seed(),
        this.#mtime(),
      );
    } else if (dice < 0.8) {
      const mode = random.pick(["r", "r", "r+", "w", "a", "a+", "wx"]);
      const call = random.next() < 0.7 ? "fopen" : "freopen";
      this.#put(call, this.#how(), this.#file(), mode, size, this.#seed());
    } else if (dice < 0.9) {
      this.#put("mmap", this.#how(), this.#file());
    } else if (dice < 0.95) {
      this.#put("mmapw", this.#how(), this.#file(), this.#seed());
    } else this.#put("copy", this.#how(), this.#file(), this.#how(), this.#file());
  }

  #look(): void {
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.7) {
      const variant = random.pick([
        "stat",
        "lstat",
        "fstatat",
        "lfstatat",
        "statx",
        "lstatx",
        "__xstat",
        "opath",
      ]);
      this.#put("stat", variant, this.#how(), this.#file());
    } else if (dice < 0.82) {
      const variant = random.pick([
        "readdir",
        "scandir",
        "getdents",
        "fts",
        "nftw",
        "ftw",
      ]);
      this.#put("list", variant, this.#how(), this.#directory());
    } else if (dice < 0.94) this.#put("access", this.#how(), this.#file());
    else this.#put("readlink", this.#how(), this.#inGroup(LINKS));
  }

  #directory(): string {
    return this.#random.next() < 0.5 ? `g${this.#group}` : this.#inGroup(DIRECTORIES);
  }

  #names(): void {
    const random = this.#random;
    const dice = random.next();
    const how = this.#how();
    if (dice < 0.22) this.#replace(this.#file());
    else if (dice < 0.5) this.#rename();
    else if (dice < 0.58) {
      const variant = random.pick(["link", "linkat", "follow"]);
      this.#put("link", variant, how, this.#file(), this.#how(), this.#file());
    } else if (dice < 0.74) {
      const variant = random.pick(["unlink", "unlinkat", "remove"]);
      this.#put("unlink", variant, how, this.#file());
    } else if (dice < 0.9) this.#put("mkdir", how, this.#inGroup(DIRECTORIES), 0o755);
    else if (dice < 0.95) {
      const variant = random.pick(["rmdir", "remove", "unlinkat"]);
      this.#put("rmdir", variant, how, this.#inGroup(DIRECTORIES));
    } else this.#put("symlink", random.pick(TARGETS), how, this.#inGroup(LINKS));
  }

  #replace(path: string): void {
    const temporary = path.startsWith("^") ? "^tmp" : path.replace(/[^/]*\/?$/, "tmp.1");
    const size = sizeOf(this.#random);
    const mtime = this.#mtime();
    this.#put("replace", this.#how(), path, temporary, size, this.#seed(), mtime);
  }

  #rename(): void {
    const random = this.#random;
    const variant = random.pick([
      "rename",
      "rename",
      "renameat",
      "renameat2",
      "noreplace",
    ]);
    const dice = random.next();
    const [from, to] = dice < 0.2
      ? [this.#inGroup(DIRECTORIES), this.#inGroup(DIRECTORIES)]
      : dice < 0.26
      ? [this.#inGroup(FILES), random.pick(OUTSIDE)]
      : dice < 0.3
      ? [random.pick(OUTSIDE), this.#inGroup(FILES)]
      : [this.#file(), this.#file()];
    this.#put("rename", variant, this.#how(), from, this.#how(), to);
  }

  #attributes(): void {
    const random = this.#random;
    const dice = random.next();
    const how = this.#how();
    if (dice < 0.3) {
      const size = random.pick([0, 1, 100, 5_000, 20_000, 100_000]);
      const variant = random.pick(["truncate", "ftruncate"]);
      this.#put("truncate", variant, how, this.#file(), size);
    } else if (dice < 0.6) {
      const variant = random.pick([
        ...["utime", "utimes", "lutimes", "futimesat"],
        ...["utimensat", "lutimensat", "now", "omit"],
      ]);
      const sec = random.between(1, 1_500_000_000);
      this.#put("utime", variant, how, this.#file(), sec);
    } else if (dice < 0.85) {
      const mode = random.pick([0o644, 0o444, 0o600, 0o755, 0, 0o4755, 0o2750, 0o1644]);
      const variant = random.pick(["chmod", "fchmodat", "fchmod"]);
      this.#put("chmod", variant, how, this.#inGroup(FILES), mode);
    } else {
      const uid = random.pick([0, 0, 1000]);
      this.#put(
        "chown",
        random.pick(["chown", "lchown"]),
        how,
        this.#inGroup(FILES),
        uid,
      );
    }
  }

  /** Descriptors that stay open while their file is evicted, or keep it from being. */
  #kept(): void {
    const random = this.#random;
    const dice = random.next();
    const slot = random.between(0, 3);
    const isWriter = WRITE_SLOTS.includes(slot);
    if (dice < 0.2) {
      if (isWriter) {
        this.#hold(slot, this.#inGroup(FILES), random.pick(["rw", "rwc", "w", "rwa"]));
      } else this.#hold(slot, this.#inGroup(KEPT), "r");
    } else if (dice < 0.5) this.#put("held", slot);
    else if (dice < 0.7) {
      const at = random.between(0, 20_000);
      const [writeSlot] = random.shuffled(WRITE_SLOTS);
      this.#put("heldw", writeSlot!, at, random.between(1, 5_000), this.#seed());
    } else if (dice < 0.85) this.#replace(this.#inGroup(KEPT));
    else if (dice < 0.93) {
      const to = this.#inGroup(KEPT);
      this.#put("rename", "rename", this.#how(), this.#inGroup(KEPT), this.#how(), to);
    } else this.#put("unlink", "unlink", this.#how(), this.#inGroup(KEPT));
  }

  #process(): void {
    const random = this.#random;
    if (!this.#isAlone) return this.#look();
    const path = this.#inGroup(["x.sh", "y.sh"]);
    const dice = random.next();
    if (dice < 0.3) this.#put("script", this.#how(), path, this.#seed());
    else if (dice < 0.7) {
      const variant = random.pick(["spawn", "execv", "execl", "execve", "vfork"]);
      this.#put("exec", variant, this.#how(), path);
    } else this.#put("fork", this.#how(), this.#file());
  }

  #shared(): void {
    const random = this.#random;
    const dice = random.next();
    const name = random.between(0, SHARED_NAMES - 1);
    if (dice < 0.5) this.#put("sget", name);
    else if (dice < 0.68) this.#put("sput", name, sizeOf(random));
    else if (dice < 0.8) this.#put("sstat", name);
    else if (dice < 0.86) this.#put("slist");
    else if (dice < 0.9) this.#put("sappend", random.between(0, SHARED_LOGS - 1));
    else this.#put("sscan", random.between(0, SHARED_LOGS - 1));
  }
}
