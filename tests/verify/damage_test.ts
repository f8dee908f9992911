/**
 * Each kind of damage, on a resident and on an evicted copy, is found and named: which
 * revision, which copy is wrong, and where a good one is left.
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { formatFinding } from "../../src/verify/finding.ts";
import type { Finding } from "../../src/verify/report_types.ts";
import type { VerifyOptions } from "../../src/verify/verify_types.ts";
import {
  BINARY,
  bytesOfText,
  checkpointText,
  REVISIONS,
  revLine,
  STANDARD_REVISIONS,
  STANDARD_ROWS,
  standardArchives,
  TEXT_1,
  TEXT_2,
  World,
} from "./world.ts";
import { writeRcs } from "./rcs_writer.ts";

const RCS = "depot/src/a.c,v";
const GZ = "depot/bin/x.dat,d/1.101.gz";

function flipped(at: (bytes: Uint8Array) => number): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    const damaged = bytes.slice();
    damaged[at(damaged)]! ^= 1;
    return damaged;
  };
}

function indexOf(bytes: Uint8Array, text: string): number {
  const at = String.fromCharCode(...bytes).indexOf(text);
  strictEqual(at >= 0, true, `"${text}" is in the file`);
  return at;
}

/** `kind file#rev wrong/good` of each finding, sorted. */
function brief(findings: readonly Finding[]): string[] {
  return findings.map((it) =>
    `${it.kind} ${it.depotFile}#${it.depotRev} wrong ${it.wrong.join("+")} good ${
      it.good.map((copy) => copy.side + (copy.isVerified ? "!" : "")).join("+") || "-"
    }`
  ).sort();
}

interface Case {
  readonly name: string;
  readonly depth?: VerifyOptions["depth"];
  /** Without a store first, then with the store's good copy. */
  readonly damage: (world: World) => Promise<void>;
  readonly alone: readonly string[];
  readonly stored: readonly string[];
  readonly says: RegExp;
}

const A = "//depot/src/a.c";
const X = "//depot/bin/x.dat";

const LOCAL_CASES: readonly Case[] = [
  {
    name: "a deleted file",
    damage: (world) => Deno.remove(`${world.root}/${GZ}`),
    alone: [`missing ${X}#1 wrong local good -`],
    stored: [`missing ${X}#1 wrong local good store!`],
    says: /no such file/,
  },
  {
    name: "a flipped byte in .gz",
    damage: (world) => world.change(GZ, flipped((bytes) => bytes.length >> 1)),
    alone: [`bad ${X}#1 wrong local good -`],
    stored: [`bad ${X}#1 wrong local good store!`],
    says: /cannot be decompressed|MD5/,
  },
  {
    name: "a flipped byte in the trailer of .gz",
    damage: (world) => world.change(GZ, flipped((bytes) => bytes.length - 6)),
    alone: [`bad ${X}#1 wrong local good -`],
    stored: [`bad ${X}#1 wrong local good store!`],
    says: /cannot be decompressed/,
  },
  {
    name: "a flipped byte in the head of ,v",
    damage: (world) => world.change(RCS, flipped((bytes) => indexOf(bytes, "three"))),
    alone: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong local good -`),
    stored: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong local good store!`),
    says: /MD5/,
  },
  {
    name: "a flipped byte in a delta of ,v",
    damage: (world) => world.change(RCS, flipped((bytes) => indexOf(bytes, "two\n"))),
    alone: [`bad ${A}#1 wrong local good -`],
    stored: [`bad ${A}#1 wrong local good store!`],
    says: /MD5/,
  },
  {
    name: "a damaged edit command of ,v",
    damage: (world) => world.change(RCS, flipped((bytes) => indexOf(bytes, "d2 1") + 1)),
    alone: [`bad ${A}#1 wrong local good -`],
    stored: [`bad ${A}#1 wrong local good store!`],
    says: /MD5|cannot be rebuilt/,
  },
  {
    name: "a truncated ,v",
    damage: (world) =>
      world.change(RCS, (bytes) => bytes.subarray(0, indexOf(bytes, "two\n"))),
    alone: [`bad ${A}#1 wrong local good -`],
    stored: [`bad ${A}#1 wrong local good store!`],
    says: /text has no end/,
  },
  {
    name: "a truncated .gz",
    damage: (world) => world.change(GZ, (bytes) => bytes.subarray(0, bytes.length - 9)),
    alone: [`bad ${X}#1 wrong local good -`],
    stored: [`bad ${X}#1 wrong local good store!`],
    says: /cannot be decompressed/,
  },
  {
    name: "an empty .gz",
    damage: (world) => world.change(GZ, () => new Uint8Array(0)),
    alone: [`bad ${X}#1 wrong local good -`],
    stored: [`bad ${X}#1 wrong local good store!`],
    says: /too short|unexpected end/,
  },
  {
    name: "a name in another case",
    damage: async (world) => {
      await Deno.rename(`${world.root}/depot/bin`, `${world.root}/depot/Bin`);
    },
    alone: [
      `missing ${X}#1 wrong local good -`,
      `missing //depot/bin/plain#1 wrong local good -`,
    ].sort(),
    stored: [
      `missing ${X}#1 wrong local good store!`,
      `missing //depot/bin/plain#1 wrong local good store!`,
    ].sort(),
    says: /in another case/,
  },
  {
    name: "a file replaced by a directory",
    damage: async (world) => {
      await Deno.remove(`${world.root}/${RCS}`);
      await Deno.mkdir(`${world.root}/${RCS}`);
    },
    alone: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong local good -`),
    stored: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong local good store!`),
    says: /directory stands in its place/,
  },
  {
    name: "a ,v that lost its newest revision",
    damage: (world) =>
      world.change(
        RCS,
        () =>
          bytesOfText(writeRcs([
            { number: "1.101", text: TEXT_1 },
            { number: "1.102", text: TEXT_2 },
          ])),
      ),
    alone: [`missing ${A}#3 wrong local good -`],
    stored: [`missing ${A}#3 wrong local good store!`],
    says: /has no revision 1.103/,
  },
  {
    name: "whole revisions in a file with rubbish at its end",
    damage: (world) =>
      world.change(RCS, (bytes) => Uint8Array.from([...bytes, ...bytesOfText("\nxyz")])),
    alone: [`bad ${A}#1 wrong local good -`],
    stored: [`bad ${A}#1 wrong local good store!`],
    says: /file is damaged/,
  },
];

for (const { name, damage, alone, stored, says, depth } of LOCAL_CASES) {
  Deno.test(`verify finds ${name}, with only the disk to look at`, async () => {
    await using world = await World.make();
    await damage(world);
    const { result, findings } = await world.verify({
      depth: depth ?? "content",
      findsOrphans: false,
    });
    deepStrictEqual(brief(findings), alone);
    match(findings.map(formatFinding).join("\n"), says);
    strictEqual(result.total.missing + result.total.bad, findings.length);
    strictEqual(result.total.checked, STANDARD_REVISIONS);
    deepStrictEqual(result.incomplete, []);
  });

  Deno.test(`verify finds ${name} in a resident file, and the store's good copy`, async () => {
    await using world = await World.make();
    await world.store();
    await damage(world);
    const { findings } = await world.verify({ findsOrphans: false });
    deepStrictEqual(brief(findings), stored);
  });
}

for (const depth of ["exists", "content"] as const) {
  Deno.test(`verify finds a lost marker at ${depth}`, async () => {
    await using world = await World.make();
    await world.store();
    await world.evict(GZ);
    await Deno.remove(`${world.root}/${GZ}`);
    const { findings } = await world.verify({ depth });
    const good = depth === "content" ? "store!" : "store";
    deepStrictEqual(brief(findings), [`missing ${X}#1 wrong local good ${good}`]);
    match(formatFinding(findings[0]!), /neither the file nor its marker/);
  });
}

interface StoreCase {
  readonly name: string;
  readonly damage: (world: World) => Promise<void>;
  readonly evicted: readonly string[];
  readonly resident: readonly string[];
  /** Found at size too, that is without reading. */
  readonly withoutReading: boolean;
  readonly says: RegExp;
}

const STORE_CASES: readonly StoreCase[] = [
  {
    name: "a deleted object",
    damage: (world) => world.deleteObject(GZ),
    evicted: [`missing ${X}#1 wrong store good -`],
    resident: [`missing ${X}#1 wrong store good local!`],
    withoutReading: true,
    says: /no such object/,
  },
  {
    name: "a stale object",
    damage: (world) =>
      world.putObject(
        RCS,
        RCS,
        bytesOfText(writeRcs([
          { number: "1.101", text: TEXT_1 },
          { number: "1.102", text: TEXT_2 },
        ])),
      ),
    evicted: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong store good -`),
    resident: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong store good local!`),
    withoutReading: true,
    says: /bytes|was stored/,
  },
  {
    name: "a flipped byte in an object",
    damage: (world) => {
      const bytes = standardArchives().get(RCS)!;
      return world.putObject(RCS, RCS, flipped((it) => indexOf(it, "two\n"))(bytes));
    },
    evicted: [`bad ${A}#1 wrong store good -`],
    resident: [1, 2, 3].map((rev) => `bad ${A}#${rev} wrong store good local!`),
    withoutReading: false,
    says: /MD5|was stored/,
  },
  {
    name: "a flipped byte in a .gz object",
    damage: (world) =>
      world.putObject(
        GZ,
        GZ,
        flipped((it) => it.length >> 1)(standardArchives().get(GZ)!),
      ),
    evicted: [`bad ${X}#1 wrong store good -`],
    resident: [`bad ${X}#1 wrong store good local!`],
    withoutReading: false,
    says: /cannot be decompressed|MD5|was stored/,
  },
  {
    name: "a truncated object",
    damage: (world) =>
      world.putObject(GZ, GZ, standardArchives().get(GZ)!.subarray(0, 30)),
    evicted: [`bad ${X}#1 wrong store good -`],
    resident: [`bad ${X}#1 wrong store good local!`],
    withoutReading: true,
    says: /30|bytes/,
  },
];

for (const { name, damage, evicted, resident, withoutReading, says } of STORE_CASES) {
  Deno.test(`verify finds ${name} of an evicted file`, async () => {
    await using world = await World.make();
    await world.store();
    for (const path of await world.paths()) await world.evict(path);
    await damage(world);
    const { result, findings } = await world.verify();
    deepStrictEqual(brief(findings), evicted);
    match(findings.map(formatFinding).join("\n"), says);
    strictEqual(result.total.bytesRead, 0);
    strictEqual(result.total.bytesRecalled > 0, true);
    const { findings: shallow } = await world.verify({ depth: "size" });
    strictEqual(shallow.length > 0, withoutReading);
  });

  Deno.test(`verify finds ${name} beside a good resident file`, async () => {
    await using world = await World.make();
    await world.store();
    await damage(world);
    const { result, findings } = await world.verify({ readsAllCopies: true });
    deepStrictEqual(brief(findings), resident);
    strictEqual(result.total.ok, STANDARD_REVISIONS - findings.length);
  });
}

Deno.test("verify finds nothing in a good world, resident, evicted or half of each", async () => {
  await using world = await World.make();
  await world.store();
  for (const [index, path] of ["", ...await world.paths()].entries()) {
    if (index > 0) await world.evict(path);
    for (const depth of ["exists", "size", "hash", "content"] as const) {
      const { result, findings } = await world.verify({ depth, readsAllCopies: true });
      deepStrictEqual(findings, [], `${depth} with ${index} evicted`);
      deepStrictEqual(result.incomplete, []);
      strictEqual(result.total.ok, STANDARD_REVISIONS);
      strictEqual(result.total.rows, STANDARD_ROWS);
    }
  }
});

for (const depth of ["exists", "size", "hash", "content"] as const) {
  Deno.test(`verify at ${depth} does not miss in the primary what another store has`, async () => {
    await using world = await World.make();
    await world.store();
    const elsewhere = async (path: string): Promise<void> => {
      world.rows.set(path, { ...world.rows.get(path)!, isElsewhere: true });
      await world.deleteObject(path);
    };
    await elsewhere(GZ);
    await world.evict(GZ);
    await elsewhere(RCS);
    const whole = { depth, readsAllCopies: true };
    const { result, findings } = await world.verify(whole);
    deepStrictEqual(findings, []);
    deepStrictEqual([...result.reasons], [
      ["it is evicted, and its object is in the secondary store or a read prefix", 1],
    ]);
    // That the marker is lost is to be told all the same.
    await Deno.remove(`${world.root}/${GZ}`);
    deepStrictEqual(brief((await world.verify(whole)).findings), [
      `missing ${X}#1 wrong local good -`,
    ]);
  });
}

Deno.test("verify says where a difference between the copies cannot be settled", async () => {
  const lines = [revLine({
    depotFile: "//depot/bin/plain",
    rev: 1,
    text: "plain archive",
    type: 0x10001,
    digest: "0".repeat(32),
    size: -1,
  })];
  const archives = new Map([["depot/bin/plain,d/1.101", bytesOfText("plain archive")]]);
  await using world = await World.make(archives, checkpointText({ lines }));
  await world.store();
  await world.change("depot/bin/plain,d/1.101", () => bytesOfText("plain ARCHIVE"));
  const { findings } = await world.verify();
  deepStrictEqual(brief(findings), [
    "bad //depot/bin/plain#1 wrong local+store good -",
  ]);
});

Deno.test("verify at size finds a file of another size than plain records say", async () => {
  await using world = await World.make();
  await world.change("depot/bin/plain,d/1.101", (bytes) => bytes.subarray(1));
  const { findings } = await world.verify({ depth: "size" });
  deepStrictEqual(brief(findings), ["bad //depot/bin/plain#1 wrong local good -"]);
  const { findings: none } = await world.verify({ depth: "exists" });
  deepStrictEqual(none, []);
});

Deno.test("verify at size compares .gz with the storage table, and with the manifest", async () => {
  const gz = standardArchives().get(GZ)!;
  const storage = `@pv@ 1 @db.storage@ @${X}@ @1.101@ ${0x10003} 1 ${"0".repeat(32)} ` +
    `900 ${gz.length} ${"0".repeat(32)} 1600000000 \n`;
  const lines = [...REVISIONS.map((it) => revLine(it)), storage];
  await using world = await World.make(standardArchives(), checkpointText({ lines }));
  deepStrictEqual((await world.verify({ depth: "size" })).findings, []);
  await world.change(GZ, () => new Uint8Array(gzipSync(bytesOfText(BINARY + "x"))));
  deepStrictEqual(brief((await world.verify({ depth: "size" })).findings), [
    `bad ${X}#1 wrong local good -`,
  ]);
});

Deno.test("verify names a record that other rows contradict", async () => {
  const lines = [
    ...REVISIONS.map((it) => revLine(it)),
    revLine({
      depotFile: "//depot/copy/b.c",
      rev: 1,
      text: "not the text of that archive",
      lbrFile: "//depot/src/a.c",
      lbrRev: "1.101",
      isLazy: true,
    }),
  ];
  await using world = await World.make(standardArchives(), checkpointText({ lines }));
  const { findings } = await world.verify();
  deepStrictEqual(brief(findings), ["bad //depot/copy/b.c#1 wrong record good local!"]);
});

for (const isEvicted of [false, true]) {
  Deno.test(`verify finds an object of the right size and another hash by its HEAD, of ${isEvicted ? "an evicted" : "a resident"} file`, async () => {
    await using world = await World.make();
    await world.store();
    const { sizeBytes } = world.rows.get(GZ)!;
    if (isEvicted) await world.evict(GZ);
    await world.putObject(GZ, GZ, bytesOfText("x".repeat(sizeBytes)));
    const { findings } = await world.verify({ depth: "hash", recallBytesMax: 0 });
    deepStrictEqual(brief(findings), [
      `bad ${X}#1 wrong store good ${isEvicted ? "-" : "local!"}`,
    ]);
  });
}

Deno.test("verify finds a marker without a row, and newest bytes that were never stored", async () => {
  await using world = await World.make();
  await world.store();
  await world.evict(GZ);
  world.rows.delete(GZ);
  await world.evict(RCS);
  world.rows.set(RCS, { ...world.rows.get(RCS)!, isClean: false });
  const { findings } = await world.verify({ depth: "exists", findsOrphans: false });
  deepStrictEqual(brief(findings), [
    ...[1, 2, 3].map((rev) => `bad ${A}#${rev} wrong local good -`),
    `missing ${X}#1 wrong manifest good store`,
  ]);
});
