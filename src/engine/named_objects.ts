/**
 * Every object that the manifest names, of everything or of one file or directory: each row's
 * stored version, and of everything the replaced versions and the deleted files too.
 *
 * What is renamed, deleted, brought back or replaced meanwhile is passed over by none of it, so
 * that whoever goes through all may do without what they were in before.
 *
 * @module
 */

import { type DepotPath, depotPathOrNull } from "../core/names.ts";
import type {
  LocalStat,
  Manifest,
  PathAndEntry,
  StoredVersion,
  Tombstone,
} from "../manifest/manifest.ts";

/** Read at a time. */
const BATCH = 256;

/**
 * What is known of the files of a directory as they were at one moment, at most. Of a larger one every
 * row is looked at: those of a directory can only be read by name, and a rename may take one from
 * before us to behind us.
 */
const AT_ONE_MOMENT = 8_192;

/** One object, and what names it. */
export interface NamedObject {
  readonly path: DepotPath;
  readonly stored: StoredVersion;
  readonly local: LocalStat;
  /** Another instance's. */
  readonly borrowed: boolean;
  /** Which names it; null: a row does. */
  readonly tombstone: Pick<Tombstone, "id" | "atMs"> | null;
}

/** Of a dirty row the version before: what a lost local file would fall back to. */
export function* namedObjects(
  manifest: Manifest,
  selection: string,
): Generator<readonly NamedObject[]> {
  if (selection === "") return yield* allObjects(manifest);
  const path = depotPathOrNull(selection);
  const entry = path === null ? null : manifest.get(path);
  if (path !== null && entry !== null) return yield namesOf([{ path, entry }]);
  const prefix = `${selection}/`;
  const some: NamedObject[][] = [];
  if (yield* isReadAtOneMoment(manifest, prefix, some)) return yield* some;
  for (const rows of rowsAfter(manifest, { last: null })) {
    yield namesOf(rows.filter((row) => row.path.startsWith(prefix)));
  }
}

/** Whether what named the object when it was listed does so still, or a row does. */
export function isStillNamed(
  manifest: Manifest,
  { path, stored, tombstone }: NamedObject,
): boolean {
  if (manifest.isNamed(stored.key)) return true;
  if (tombstone === null) return false;
  const { id } = tombstone;
  const [now] = manifest.tombstones({ path, id: id - 1 }, 1);
  return now?.path === path && now.id === id && !now.removed;
}

/**
 * Again behind the rows: a file that was deleted meanwhile has a tombstone that is new, and one that
 * was undeleted, before that was looked at, a row that is new.
 */
function* allObjects(manifest: Manifest): Generator<readonly NamedObject[]> {
  const newId = manifest.nextTombstoneId();
  const place = { last: null };
  yield* buriedObjects(manifest, () => true);
  for (const rows of rowsAfter(manifest, place)) yield namesOf(rows);
  yield* buriedObjects(manifest, ({ id }) => id >= newId);
  for (const rows of rowsAfter(manifest, place)) yield namesOf(rows);
}

/** Whether `read` has all that is below `prefix`. Yields nothing, so that others get their turn. */
function* isReadAtOneMoment(
  manifest: Manifest,
  prefix: string,
  read: NamedObject[][],
): Generator<readonly NamedObject[], boolean> {
  const snapshot = manifest.snapshot();
  try {
    let after: DepotPath | null = null;
    for (let count = 0; count < AT_ONE_MOMENT; count += BATCH) {
      const rows: PathAndEntry[] = snapshot.entries(prefix, after, BATCH);
      read.push(namesOf(rows));
      if (rows.length < BATCH) return true;
      after = rows.at(-1)!.path;
      yield [];
    }
    return false;
  } finally {
    snapshot.done();
  }
}

/** In the order in which they came, which no rename changes. */
function* rowsAfter(
  manifest: Manifest,
  place: { last: PathAndEntry | null },
): Generator<readonly PathAndEntry[]> {
  for (;;) {
    const batch = manifest.byArrival(place.last, BATCH);
    if (batch.length === 0) return;
    place.last = batch.at(-1)!;
    yield batch;
  }
}

/** All ages: a clock may have been ahead when a file was deleted. */
function* buriedObjects(
  manifest: Manifest,
  isWanted: (tombstone: Tombstone) => boolean,
): Generator<readonly NamedObject[]> {
  for (let after: Tombstone | null = null;;) {
    const batch: Tombstone[] = manifest.tombstones(after, BATCH);
    if (batch.length === 0) return;
    after = batch.at(-1)!;
    yield batch.filter((one) => !one.removed && isWanted(one))
      .map(({ path, stored, local, borrowed, id, atMs }) => {
        return { path, stored, local, borrowed, tombstone: { id, atMs } };
      });
  }
}

function namesOf(rows: readonly PathAndEntry[]): NamedObject[] {
  return rows.flatMap(({ path, entry: { stored, local, flags } }) => {
    if (stored === null) return [];
    return [{ path, stored, local, borrowed: flags.borrowed, tombstone: null }];
  });
}
