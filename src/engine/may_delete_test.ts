import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { bytePathOf } from "../core/names.ts";
import { deleteFile } from "./delete.ts";
import { VANISH_GRACE_MS } from "./departures.ts";
import { writersOf } from "./may_delete.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";

const OWN = { uid: Deno.uid(), gid: Deno.gid() };
const STRANGER = { uid: 54_321, gid: 54_321 };
const OF_GROUP = { uid: 54_321, gid: Deno.gid() };

/** A stored file whose name is lost: nothing has told that anybody removed it. */
async function lost(fixture: EngineFixture, path: string): Promise<void> {
  await fixture.write(path, "text");
  await observe(fixture.context, fixture.path(path), REPORTED);
  strictEqual(await upload(fixture.context, fixture.path(path)), "uploaded");
  await Deno.remove(`${fixture.root}/${path}`);
}

/** Depot root, "d" and "d/e", in this order. */
interface Case {
  readonly name: string;
  readonly modes: readonly [number, number, number];
  readonly by: { readonly uid: number | null; readonly gid: number | null };
  readonly outcome: "deleted" | "refused";
}

const CASES: readonly Case[] = [
  {
    name: "a stranger",
    modes: [0o755, 0o755, 0o755],
    by: STRANGER,
    outcome: "refused",
  },
  {
    name: "a stranger who may write the directory",
    modes: [0o755, 0o711, 0o757],
    by: STRANGER,
    outcome: "deleted",
  },
  {
    name: "a stranger who may write the directory, but not search one above it",
    modes: [0o755, 0o766, 0o757],
    by: STRANGER,
    outcome: "refused",
  },
  {
    name: "a stranger who may write the directory, but not search it",
    modes: [0o755, 0o755, 0o756],
    by: STRANGER,
    outcome: "refused",
  },
  {
    name: "a stranger to a file in a sticky directory",
    modes: [0o755, 0o755, 0o1777],
    by: STRANGER,
    outcome: "refused",
  },
  {
    name: "one of the group, which may write the directory",
    modes: [0o750, 0o750, 0o770],
    by: OF_GROUP,
    outcome: "deleted",
  },
  {
    name: "one of the group, which may not, where others may",
    modes: [0o755, 0o755, 0o757],
    by: OF_GROUP,
    outcome: "refused",
  },
  {
    name: "anybody, where the group may write",
    modes: [0o755, 0o755, 0o775],
    by: { uid: null, gid: null },
    outcome: "refused",
  },
  {
    name: "the daemon's own user, whatever the modes are",
    modes: [0o700, 0o500, 0o500],
    by: OWN,
    outcome: "deleted",
  },
];

for (const { name, modes, by, outcome } of CASES) {
  Deno.test(`a lost name is ${outcome} by ${name}`, async () => {
    await using fixture = await openEngineFixture();
    await lost(fixture, "d/e/a,v");
    for (const [i, directory] of ["", "/d", "/d/e"].entries()) {
      await Deno.chmod(`${fixture.root}${directory}`, modes[i]!);
    }
    const path = fixture.path("d/e/a,v");
    strictEqual(await deleteFile(fixture.context, path, { by: [by] }), outcome);
    strictEqual(fixture.manifest.get(path) === null, outcome === "deleted");
    strictEqual(
      fixture.manifest.tombstonesOf(path).length,
      outcome === "deleted" ? 1 : 0,
    );
    for (const directory of ["/d", "/d/e"]) {
      await Deno.chmod(`${fixture.root}${directory}`, 0o755);
    }
  });
}

Deno.test("a name is nobody's to delete when its directory is gone", async () => {
  await using fixture = await openEngineFixture();
  await lost(fixture, "d/a,v");
  await Deno.remove(`${fixture.root}/d`);
  const path = fixture.path("d/a,v");
  const by = [STRANGER];
  strictEqual(await deleteFile(fixture.context, path, { by }), "refused");
});

for (
  const [agoMs, outcome] of [[0, "deleted"], [VANISH_GRACE_MS + 1, "refused"]] as const
) {
  Deno.test(`a name that the kernel told to be removed ${agoMs} ms ago is ${outcome} by anybody`, async () => {
    await using fixture = await openEngineFixture();
    const { context } = fixture;
    const nowMs = context.clock.monotonicMs();
    const frozen = { ...context, clock: { ...context.clock, monotonicMs: () => nowMs } };
    await lost(fixture, "a,v");
    const path = fixture.path("a,v");
    context.departures.note(path, nowMs - agoMs);
    strictEqual(await deleteFile(frozen, path, { by: [STRANGER] }), outcome);
  });
}

Deno.test("every one who may have written a delete down has to have the right", async () => {
  await using fixture = await openEngineFixture();
  await lost(fixture, "a,v");
  const path = fixture.path("a,v");
  const by = [OWN, STRANGER];
  strictEqual(await deleteFile(fixture.context, path, { by }), "refused");
  strictEqual(await deleteFile(fixture.context, path, { by: [OWN, OWN] }), "deleted");
});

Deno.test("writersOf() gives the owner, and the group and others if they may write and come in", async () => {
  await using fixture = await openEngineFixture();
  const file = `${fixture.root}/log`;
  await Deno.writeTextFile(file, "");
  const [owner, group, others] = [
    { uid: OWN.uid, gid: null },
    { uid: null, gid: OWN.gid },
    { uid: null, gid: null },
  ];
  const expected = [
    [0o755, 0o644, [owner]],
    [0o711, 0o660, [owner, owner, group]],
    [0o750, 0o602, [owner, owner, others]],
    [0o755, 0o666, [owner, owner, group, others]],
    [0o700, 0o666, [owner, owner]],
  ] as const;
  for (const [directoryMode, mode, writers] of expected) {
    await Deno.chmod(fixture.root, directoryMode);
    await Deno.chmod(file, mode);
    const [stat, directory] = [file, fixture.root].map((path) =>
      fixture.posix.lstat(bytePathOf(path))!
    );
    deepStrictEqual(writersOf(stat!, directory!), writers);
  }
});
