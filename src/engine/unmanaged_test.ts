/**
 * Rows of names that are not managed: `manage` was another when they were made, or a rebuild or
 * an import took what was not ours. Nothing of theirs is evicted, uploaded or given a marker.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { restoreStored } from "./conflict.ts";
import type { EngineContext } from "./engine_context.ts";
import { evict } from "./evict.ts";
import { evictSelected } from "./evict_by_hand.ts";
import { Evictor } from "./evict_pass.ts";
import { MET, observe, REPORTED } from "./observe.ts";
import { SpaceLedger } from "./space.ts";
import { undeleteFile } from "./undelete.ts";
import { upload } from "./upload.ts";

const NAME = "notes.txt";

/** NAME is uploaded while all names are managed; then only archives are. */
async function narrowed(
  fixture: EngineFixture,
  isEvicted: boolean,
): Promise<EngineContext> {
  const path = fixture.path(NAME);
  await fixture.write(NAME, "hello");
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  if (isEvicted) strictEqual(await evict(fixture.context, path), "evicted");
  return withArchivesOnly(fixture.context);
}

function withArchivesOnly(context: EngineContext): EngineContext {
  return {
    ...context,
    settings: () => ({ ...context.settings(), manage: "archives", maxCacheBytes: 1 }),
  };
}

function openAllManaged(): Promise<EngineFixture> {
  return openEngineFixture({ settings: { manage: "all" } });
}

Deno.test("a file of an unmanaged name is not evicted, by limits or by hand", async () => {
  await using fixture = await openAllManaged();
  const path = fixture.path(NAME);
  const context = await narrowed(fixture, false);
  strictEqual(await evict(context, path), "unmanaged");
  await new Evictor(context, new SpaceLedger(context, () => {})).runPass();
  const { manifest, signal } = context;
  const entry = manifest.get(path)!;
  // Older than the floor of an eviction by hand.
  await manifest.apply(path, entry.generation, {
    kind: "adopted",
    stored: entry.stored!,
    stat: entry.local,
    resident: true,
    flags: {},
    nowS: 1,
  });
  const { kept } = await evictSelected(context, {
    selection: "",
    dryRun: false,
    onProgress: () => {},
    signal,
  });
  strictEqual(kept.unmanaged, 1);
  strictEqual(await fixture.read(NAME), "hello");
});

Deno.test("a dirty file of an unmanaged name is not uploaded, and told of", async () => {
  await using fixture = await openAllManaged();
  const path = fixture.path(NAME);
  await fixture.write(NAME, "hello");
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(withArchivesOnly(fixture.context), path), "failed");
  strictEqual(fixture.manifest.get(path)!.state, "dirty");
  // Not again at once.
  deepStrictEqual(fixture.manifest.dirtyDue(Date.now(), 10), []);
  for await (const { key } of fixture.primary.list("")) ok(false, key);
  strictEqual(fixture.failures.length, 1);
});

Deno.test("an unmanaged name that is empty gets no marker: p4d makes its file there", async () => {
  await using fixture = await openAllManaged();
  const path = fixture.path(NAME);
  const context = await narrowed(fixture, true);
  await Deno.remove(`${fixture.root}/${NAME}`);
  strictEqual(await observe(context, path, MET), "nothing");
  strictEqual(fixture.posix.lstat(`${fixture.root}/${NAME}`), null);
  const generation = fixture.manifest.get(path)!.generation;
  await fixture.manifest.apply(path, generation, {
    kind: "deleted",
    nowMs: Date.now(),
    whiteout: false,
  });
  ok(!(await undeleteFile(context, path, false)).isDone);
  ok((await undeleteFile(fixture.context, path, false)).isDone);
});

Deno.test("a conflict of an unmanaged name is not ended by a marker in its place", async () => {
  await using fixture = await openAllManaged();
  const path = fixture.path(NAME);
  const context = await narrowed(fixture, false);
  await fixture.manifest.apply(path, "any", {
    kind: "flagged",
    flags: { conflict: true },
  });
  ok(!(await restoreStored(context, path, false)).isDone);
  strictEqual(await fixture.read(NAME), "hello");
});
