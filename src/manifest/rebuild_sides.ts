/**
 * What a rebuild of the manifest reads: the store and the depot, as far as it needs them.
 *
 * @module
 */

import type { DepotPath, ObjectKey } from "../core/names.ts";
import type { LocalStat } from "./manifest.ts";

/** What the store says of an object; `list` may leave out the metadata. */
export interface RebuildObject {
  readonly key: ObjectKey;
  readonly sizeBytes: number;
  readonly storedAtMs: number | null;
  readonly versionId: string | null;
  readonly metadata: {
    readonly hash: string | null;
    readonly mtimeNs: bigint | null;
    readonly mode: number | null;
    readonly uid: number | null;
    readonly gid: number | null;
    /** Percent-encoded bytes. */
    readonly path: string | null;
    /** Of the row when it was uploaded. */
    readonly generation?: number;
  } | null;
}

/** The store, as far as a rebuild needs it. A storage backend is one. */
export interface RebuildStore {
  list(prefix: string, signal?: AbortSignal): AsyncIterable<RebuildObject>;
  head(key: ObjectKey, signal?: AbortSignal): Promise<RebuildObject | null>;
}

/** What stands at a path: content, or a marker (whose `stat` has the file's size). */
export interface LocalThing {
  readonly kind: "file" | "marker";
  readonly stat: LocalStat;
}

/** The depot, as far as a rebuild needs it. `walk` meets managed names only. */
export interface RebuildDepot {
  look(path: DepotPath): Promise<LocalThing | null>;
  walk(signal?: AbortSignal): AsyncIterable<{
    readonly path: DepotPath;
    readonly thing: LocalThing;
  }>;
}

/** Whom a marker is to belong to where its object does not say: the daemon must be able to. */
export interface RebuildOwner {
  readonly uid: number;
  readonly gid: number;
}
