// deno-lint-ignore-file no-console -- this is how it tells
/**
 * The engine without the right to give files away: opens files that the store has and no row
 * knows, whose owner is a user of another host, and tells what the depot has then.
 *
 * @module
 */

import { objectKeyOf } from "../../src/core/names.ts";
import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import { metadataOf, patternBytes, sourceOf } from "../conformance/test_bytes.ts";
import { openEngineFixture, SIZES } from "../support/engine_fixture.ts";

const OTHER_UID = 12_345;
const MTIME_NS = 1_700_000_000_123_456_789n;

const primary = openMemBackend();
await using fixture = await openEngineFixture({
  primary,
  settings: { storeLookupOnMiss: true },
});
const opened: Record<string, unknown> = {};
for (const [name, sizeBytes] of Object.entries(SIZES)) {
  const bytes = patternBytes(sizeBytes, 1);
  const key = objectKeyOf(`${name},v`);
  await primary.upload({
    key,
    source: sourceOf(bytes),
    metadata: {
      ...metadataOf(bytes),
      mtimeNs: MTIME_NS,
      mode: 0o6444,
      uid: OTHER_UID,
      gid: OTHER_UID,
      path: fixture.path(`${name},v`),
    },
    ifAbsent: false,
  });
  await fixture.restorer.restore(fixture.path(`${name},v`));
  const stat = fixture.posix.lstat(`${fixture.root}/${name},v`)!;
  opened[name] = {
    isOwn: stat.uid === Deno.uid() && stat.gid === Deno.gid(),
    mode: stat.mode.toString(8),
    hasTime: stat.mtimeNs === MTIME_NS,
    rowUid: fixture.manifest.get(fixture.path(`${name},v`))!.local.uid === stat.uid,
    left: [...Deno.readDirSync(`${fixture.root}/.p4cache/tmp`)].length,
  };
}
console.log(JSON.stringify(opened));
