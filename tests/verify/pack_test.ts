/**
 * Git packs of graph depots: each is checked by itself.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { createHash } from "node:crypto";
import { bytesOfText, checkpointText, revLine, World } from "./world.ts";

function withSha1(bytes: Uint8Array): Uint8Array {
  const trailer = createHash("sha1").update(bytes).digest();
  return Uint8Array.from([...bytes, ...trailer]);
}

const PACK = withSha1(bytesOfText("PACK and what is in it, of any length".repeat(20)));
const INDEX = withSha1(
  Uint8Array.from([
    ...bytesOfText("an index of objects".repeat(9)),
    ...PACK.subarray(-20),
  ]),
);
const DIRECTORY = "graph/team/tool.git/objects/pack";

async function graphWorld(): Promise<World> {
  const lines = [revLine({ depotFile: "//depot/x", rev: 1, text: "", action: 2 })];
  const depots = ["@depot@ 0 @@ @depot/...@", "@graph@ 7 @@ @graph/...@"];
  const world = await World.make(new Map(), checkpointText({ depots, lines }));
  await world.write(`${DIRECTORY}/pack-1.pack`, PACK);
  await world.write(`${DIRECTORY}/pack-1.idx`, INDEX);
  await world.write("graph/team/tool.git/HEAD", bytesOfText("ref: refs/heads/main"));
  return world;
}

Deno.test("a pack and its index that belong together are good", async () => {
  await using world = await graphWorld();
  const { result, findings } = await world.verify();
  deepStrictEqual([findings, result.tallies.get("graph")?.ok], [[], 1]);
});

const flip = (at: number) => (bytes: Uint8Array): Uint8Array => {
  const damaged = bytes.slice();
  damaged[(at + bytes.length) % bytes.length]! ^= 1;
  return damaged;
};

for (
  const { name, path, edit, kind } of [
    {
      name: "a flipped byte in a pack",
      path: "pack-1.pack",
      edit: flip(30),
      kind: "bad",
    },
    {
      name: "a flipped byte in its trailer",
      path: "pack-1.pack",
      edit: flip(-1),
      kind: "bad",
    },
    {
      name: "a flipped byte in an index",
      path: "pack-1.idx",
      edit: flip(5),
      kind: "bad",
    },
    {
      name: "a truncated pack",
      path: "pack-1.pack",
      edit: (bytes: Uint8Array) => bytes.subarray(0, 90),
      kind: "bad",
    },
    {
      name: "an empty index",
      path: "pack-1.idx",
      edit: () => new Uint8Array(0),
      kind: "bad",
    },
    {
      name: "the index of another pack",
      path: "pack-1.idx",
      edit: () => withSha1(bytesOfText("another index".repeat(30))),
      kind: "bad",
    },
  ]
) {
  Deno.test(`verify finds ${name}`, async () => {
    await using world = await graphWorld();
    await world.change(`${DIRECTORY}/${path}`, edit);
    const { findings } = await world.verify();
    deepStrictEqual(findings.map((it) => [it.kind, it.archive]), [
      [kind, `${DIRECTORY}/${path}`],
    ]);
  });
}

Deno.test("a pack without an index, and an index without a pack, are told at every depth", async () => {
  for (const [gone, left] of [["pack-1.idx", 1], ["pack-1.pack", 1]] as const) {
    await using world = await graphWorld();
    await Deno.remove(`${world.root}/${DIRECTORY}/${gone}`);
    const { findings } = await world.verify({ depth: "exists" });
    strictEqual(findings.length, left);
    deepStrictEqual([findings[0]!.kind, findings[0]!.archive], [
      "missing",
      `${DIRECTORY}/${gone}`,
    ]);
  }
});
