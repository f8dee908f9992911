import { deepStrictEqual, match, notStrictEqual, strictEqual } from "node:assert/strict";
import { openMemManifest } from "../manifest/mem_manifest.ts";
import {
  type DepotPlace,
  identityOf,
  judgePlace,
  keepPlace,
  knownPlaceOf,
  type PlaceVerdict,
} from "./depot_place.ts";

const NOW: DepotPlace = { device: "64769", identity: "12 1700000000123" };
const OTHER = "13 1700000000123";

const CASES: readonly [string, DepotPlace | null, DepotPlace, PlaceVerdict][] = [
  ["nothing is known yet", null, NOW, "learn"],
  ["all is as it was", NOW, NOW, "go"],
  ["the identity was not kept yet", { ...NOW, identity: null }, NOW, "learn"],
  ["the tree was copied on its own disk", { ...NOW, identity: OTHER }, NOW, "learn"],
  ["the device got another number", { ...NOW, device: "64770" }, NOW, "renumbered"],
  [
    "the device is another, and the identity was not kept yet",
    { device: "64770", identity: null },
    NOW,
    "another",
  ],
  ["the tree was copied", { device: "64770", identity: OTHER }, NOW, "another"],
  [
    "the file system keeps no birth times",
    { device: "64770", identity: null },
    { ...NOW, identity: null },
    "another",
  ],
  ["it kept them before", NOW, { ...NOW, identity: null }, "go"],
];

for (const [what, known, now, verdict] of CASES) {
  Deno.test(`judgePlace() says "${verdict}" if ${what}`, () => {
    strictEqual(judgePlace(known, now), verdict);
  });
}

Deno.test("identityOf() stays with a directory whatever becomes of it, and no copy has it", async () => {
  const root = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "p4cache-place-" });
  try {
    const [state, moved, copy] = ["state", "moved", "copy"].map((it) => `${root}/${it}`);
    await Deno.mkdir(state!);
    const identity = identityOf(state!)!;
    match(identity, /^[0-9]+ [0-9]{13}$/);
    await Deno.writeTextFile(`${state}/file`, "content");
    await Deno.chmod(state!, 0o711);
    await Deno.utime(state!, 1, 1);
    await Deno.rename(state!, moved!);
    strictEqual(identityOf(moved!), identity);
    const { success } = await new Deno.Command("cp", { args: ["-a", moved!, copy!] })
      .output();
    strictEqual(success, true);
    notStrictEqual(identityOf(copy!), identity);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("keepPlace() leaves no identity of another place beside the device of this one", async () => {
  const manifest = await openMemManifest();
  strictEqual(knownPlaceOf(manifest), null);
  await keepPlace(manifest, NOW);
  deepStrictEqual(knownPlaceOf(manifest), NOW);
  await keepPlace(manifest, { device: "7", identity: null });
  deepStrictEqual(knownPlaceOf(manifest), { device: "7", identity: null });
});
