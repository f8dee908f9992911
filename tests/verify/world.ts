/**
 * A small server's world for tests: a depot tree, its checkpoint, and optionally a manifest
 * and a store that hold the same archives, some of them evicted.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { blake3 } from "@napi-rs/blake-hash";
import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { posixFiles } from "../../src/verify/posix_files.ts";
import { type Clock, SYSTEM_CLOCK } from "../../src/core/clock.ts";
import { type DepotPath, objectKeyOf, parseDepotPath } from "../../src/core/names.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { archiveStoreOf } from "../../src/verify/archive_store.ts";
import type { Finding } from "../../src/verify/report_types.ts";
import type {
  ArchiveStore,
  LocalFiles,
  ManifestRow,
  ManifestView,
} from "../../src/verify/sources.ts";
import { verify } from "../../src/verify/verifier.ts";
import type { VerifyOptions, VerifyResult } from "../../src/verify/verify_types.ts";
import { writeRcs } from "./rcs_writer.ts";

/** When the checkpoint was taken, in seconds; all files are older. */
export const AS_OF_S = 1_700_000_000;
const WRITTEN_S = AS_OF_S - 30 * 86_400;

export function bytesOfText(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

export function md5Of(bytes: Uint8Array): string {
  return createHash("md5").update(bytes).digest("hex").toUpperCase();
}

export interface Revision {
  readonly depotFile: string;
  readonly rev: number;
  readonly text: string;
  readonly type?: number;
  readonly action?: number;
  readonly lbrFile?: string;
  readonly lbrRev?: string;
  readonly lbrType?: number;
  readonly isLazy?: boolean;
  /** Digest in place of that of the text. */
  readonly digest?: string;
  readonly size?: number;
  readonly table?: string;
}

export function revLine(revision: Revision, op = "pv"): string {
  const bytes = bytesOfText(revision.text);
  const { depotFile, rev } = revision;
  const type = revision.type ?? 0;
  const quoted = (text: string): string => `@${text.replaceAll("@", "@@")}@`;
  return `@${op}@ 9 @${revision.table ?? "db.rev"}@ ${
    quoted(depotFile)
  } ${rev} ${type} ` +
    `${revision.action ?? 1} ${100 + rev} ${WRITTEN_S} ${WRITTEN_S} ` +
    `${revision.digest ?? md5Of(bytes)} ${revision.size ?? bytes.length} 0 ` +
    `${revision.isLazy ? 1 : 0} ${quoted(revision.lbrFile ?? depotFile)} ` +
    `@${revision.lbrRev ?? `1.${100 + rev}`}@ ${revision.lbrType ?? type} \n`;
}

export interface CheckpointParts {
  readonly flags?: number;
  readonly depots?: readonly string[];
  readonly lines: readonly string[];
}

export function checkpointText(parts: CheckpointParts): string {
  const depots = parts.depots ?? ["@depot@ 0 @@ @depot/...@"];
  const mark = `@ex@ 4711 ${AS_OF_S}\n`;
  return `@nx@ 0 ${AS_OF_S} @50@ ${
    parts.flags ?? 1
  } 0 0 0 0 @/p4/root@ @journal@ @@ @@ @@ \n` +
    depots.map((depot) => `@pv@ 1 @db.depot@ ${depot} \n`).join("") + mark +
    `@pv@ 0 @db.desc@ 1 @several\nlines @@ here@ \n` + mark +
    parts.lines.join("") + mark +
    `@nx@ 1 ${AS_OF_S} @50@ 0 0 0 0 0 @@ @@ @@ @@ @@ \n` + mark;
}

/** The revisions of the standard world. */
export const TEXT_1 = "one\ntwo\nthree\n";
export const TEXT_2 = "one\nzwei @ home\nthree\n";
export const TEXT_3 = "one\nzwei @ home\nthree\nfour\n";
export const KO = "$Id$\nbody\n";
export const KO_EXPANDED = "$Id: //depot/src/ko.txt#1 $\nbody\n";
export const BINARY = "\x00\x01\xff".repeat(300);
export const PLAIN = "plain archive";

export const REVISIONS: readonly Revision[] = [
  { depotFile: "//depot/src/a.c", rev: 1, text: TEXT_1, action: 0 },
  { depotFile: "//depot/src/a.c", rev: 2, text: TEXT_2 },
  { depotFile: "//depot/src/a.c", rev: 3, text: TEXT_3 },
  { depotFile: "//depot/src/ko.txt", rev: 1, text: KO_EXPANDED, type: 0x10 },
  { depotFile: "//depot/bin/x.dat", rev: 1, text: BINARY, type: 0x10003 },
  { depotFile: "//depot/bin/plain", rev: 1, text: PLAIN, type: 0x10001 },
  {
    depotFile: "//depot/copy/a.c",
    rev: 1,
    text: TEXT_2,
    action: 3,
    lbrFile: "//depot/src/a.c",
    lbrRev: "1.102",
    isLazy: true,
  },
  {
    depotFile: "//depot/src/gone.c",
    rev: 2,
    text: "",
    action: 2,
    digest: "0".repeat(32),
    size: -1,
  },
];

/** Archive revisions of the standard world, and the rows that rest upon them. */
export const STANDARD_REVISIONS = 6;
export const STANDARD_ROWS = 7;

/** Archives of the standard world, by path below the depot root. */
export function standardArchives(): Map<string, Uint8Array<ArrayBuffer>> {
  return new Map([
    [
      "depot/src/a.c,v",
      bytesOfText(writeRcs([
        { number: "1.101", text: TEXT_1 },
        { number: "1.102", text: TEXT_2 },
        { number: "1.103", text: TEXT_3 },
      ])),
    ],
    ["depot/src/ko.txt,v", bytesOfText(writeRcs([{ number: "1.101", text: KO }]))],
    ["depot/bin/x.dat,d/1.101.gz", new Uint8Array(gzipSync(bytesOfText(BINARY)))],
    ["depot/bin/plain,d/1.101", bytesOfText(PLAIN)],
  ]);
}

/** A tree with its checkpoint in a temporary directory. */
export class World {
  readonly directory: string;
  readonly root: string;
  readonly checkpoint: string;
  readonly rows = new Map<string, ManifestRow>();
  /** By path: keys of objects that are not removed yet. */
  readonly tombstones = new Map<string, string[]>();
  readonly backend: StorageBackend = openMemBackend({
    nowMs: () => (AS_OF_S - 10 * 86_400) * 1000,
  });
  hasStore = false;

  private constructor(directory: string) {
    this.directory = directory;
    this.root = `${directory}/root`;
    this.checkpoint = `${directory}/checkpoint`;
  }

  static async make(
    archives = standardArchives(),
    checkpoint = checkpointText({ lines: REVISIONS.map((it) => revLine(it)) }),
  ): Promise<World> {
    const world = new World(await Deno.makeTempDir({ prefix: "pv" }));
    await Deno.mkdir(world.root);
    await Deno.writeFile(world.checkpoint, bytesOfText(checkpoint));
    for (const [path, bytes] of archives) await world.write(path, bytes);
    return world;
  }

  async remove(): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    const name = `${this.root}/${path}`;
    await Deno.mkdir(name.slice(0, name.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(name, bytes);
    await Deno.utime(name, WRITTEN_S, WRITTEN_S);
  }

  async change(
    path: string,
    edit: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array,
  ): Promise<void> {
    await this.write(path, edit(await Deno.readFile(`${this.root}/${path}`)));
  }

  /** Puts every archive into store and manifest, resident. */
  async store(): Promise<void> {
    this.hasStore = true;
    for (const path of await this.paths()) {
      const bytes = await Deno.readFile(`${this.root}/${path}`);
      await this.putObject(path, path, bytes);
      this.rows.set(path, {
        isClean: true,
        isResident: true,
        sizeBytes: bytes.length,
        createdAtMs: WRITTEN_S * 1000,
        stored: {
          key: path,
          hash: blake3(bytes).toString("hex"),
          sizeBytes: bytes.length,
        },
        isElsewhere: false,
      });
    }
  }

  /** Replaces the object at `key`. */
  async putObject(key: string, path: string, bytes: Uint8Array): Promise<void> {
    await this.backend.upload({
      key: objectKeyOf(key),
      ifAbsent: false,
      source: {
        sizeBytes: bytes.length,
        read(buffer: Uint8Array, offset: number): Promise<number> {
          const part = bytes.subarray(offset, offset + buffer.length);
          buffer.set(part);
          return Promise.resolve(part.length);
        },
      },
      metadata: {
        hash: blake3(bytes).toString("hex"),
        mtimeNs: null,
        mode: null,
        uid: null,
        gid: null,
        path: encodeURIComponent(path),
      },
    });
  }

  async deleteObject(key: string): Promise<void> {
    await this.backend.delete({ key: objectKeyOf(key) });
  }

  /** Puts a marker in the place of a file. */
  async evict(path: string): Promise<void> {
    const name = `${this.root}/${path}`;
    await Deno.remove(name);
    // A listener removes its socket when it is closed, under the name that it had.
    const listener = Deno.listen({ transport: "unix", path: `${this.directory}/s` });
    await Deno.rename(`${this.directory}/s`, name);
    listener.close();
    await Deno.utime(name, WRITTEN_S, WRITTEN_S);
    const row = this.rows.get(path);
    if (row !== undefined) this.rows.set(path, { ...row, isResident: false });
  }

  /** Gives a file a name of any bytes, one character each. */
  async renameToBytes(from: string, to: string): Promise<void> {
    const parent = to.slice(0, to.lastIndexOf("/"));
    await Deno.mkdir(`${this.root}/${parent}`, { recursive: true });
    using posix = openPosix(nativeFile("libp4posix.so"));
    posix.rename(`${this.root}/${from}`, `${this.root}/${to}`);
  }

  /** Every archive file, sorted. */
  async paths(directory = ""): Promise<string[]> {
    const paths: string[] = [];
    for await (const entry of Deno.readDir(`${this.root}/${directory}`)) {
      const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
      if (entry.isDirectory) paths.push(...await this.paths(path));
      else paths.push(path);
    }
    return paths.sort();
  }

  manifest(): ManifestView {
    return {
      get: (path: DepotPath) => this.rows.get(path) ?? null,
      entries: () =>
        [...this.rows].sort(([a], [b]) => a < b ? -1 : 1)
          .map(([path, row]) => [parseDepotPath(path), row] as const),
      pathsOf: (key) =>
        [...this.rows].filter(([, row]) => row.stored?.key === key)
          .map(([path]) => parseDepotPath(path)),
      isInGrace: (key) =>
        [...this.tombstones.values()].some((keys) => keys.includes(key)),
    };
  }

  async verify(
    options: Partial<VerifyOptions> = {},
    context: {
      clock?: Clock;
      signal?: AbortSignal;
      files?: (files: LocalFiles) => LocalFiles;
      store?: ArchiveStore;
    } = {},
  ): Promise<{ result: VerifyResult; findings: Finding[] }> {
    const findings: Finding[] = [];
    using posix = openPosix(nativeFile("libp4posix.so"));
    const result = await verify({
      checkpoint: this.checkpoint,
      journals: [],
      depth: "content",
      sampling: { part: 0, of: 1 },
      depotPrefix: null,
      checksArchiveDepots: false,
      readsAllCopies: false,
      findsOrphans: true,
      orphanAgeMs: 86_400_000,
      recallBytesMax: Infinity,
      bytesPerSecond: Infinity,
      resumePath: null,
      ignoresMd5: false,
      ...options,
    }, {
      files: (context.files ?? ((it) => it))(posixFiles(posix, this.root)),
      depotRoot: this.root,
      manifest: this.hasStore ? this.manifest() : null,
      store: context.store ?? (this.hasStore ? archiveStoreOf(this.backend) : null),
      scratchDirectory: this.directory,
      clock: context.clock ?? SYSTEM_CLOCK,
      signal: context.signal ?? new AbortController().signal,
    }, { finding: (finding) => findings.push(finding), progress: () => {} });
    return { result, findings };
  }
}
