/**
 * The stores and the depot as `rebuild-manifest` is given them, and what it says when the
 * secondary store fails: it is the one that can be left out.
 *
 * @module
 */

import type { ManagePolicy } from "../core/names.ts";
import type { DepotPlace } from "../daemon/depot_place.ts";
import { EXIT, type ExitStatus, StartError } from "../daemon/start_error.ts";
import type {
  RebuildDepot,
  RebuildObject,
  RebuildOwner,
  RebuildStore,
} from "../manifest/rebuild_sides.ts";
import { StorageError } from "../storage/storage_error.ts";

export interface RebuildStoreSide {
  readonly store: RebuildStore;
  /** Whose prefix of the store it is, or null. */
  instanceId(): Promise<string | null>;
  /** Names of the copies of the manifest in the store. */
  storeCopies(): Promise<string[]>;
  /** Fetches one of them as the new file `target`, durably. */
  fetchCopy(name: string, target: string): Promise<void>;
}

/** What a rebuild reads. */
export interface RebuildSides {
  readonly primary: RebuildStoreSide;
  /** Null: none is configured, or it is left out. */
  readonly secondary: RebuildStoreSide | null;
  readonly depot: RebuildDepot;
  readonly owner: RebuildOwner;
  readonly manage: ManagePolicy;
  readonly place: DepotPlace;
  close(): Promise<void>;
}

export interface RebuildSidesOptions {
  readonly noSecondary: boolean;
  readonly signal: AbortSignal;
}

/** An error of the secondary store, with what there is to do about it. */
export function withoutSecondaryHelp(status: ExitStatus, cause: Error): StartError {
  const message =
    `The secondary store cannot be read: ${cause.message}. Mend that and run ` +
    "this again, or leave the store out with --no-secondary: what only it has is reported " +
    "as NO OBJECT or NOT ITS then, and a later rebuild finds it";
  return new StartError(status, message, { cause });
}

/** The secondary, whose failures name it. A damaged copy is no failure of the store. */
export function sayingWhichStore(side: RebuildStoreSide): RebuildStoreSide {
  const { store } = side;
  return {
    store: {
      async *list(prefix, signal): AsyncGenerator<RebuildObject> {
        try {
          yield* store.list(prefix, signal);
        } catch (error) {
          throw named(error);
        }
      },
      head: (key, signal) => store.head(key, signal).catch(rethrowNamed),
    },
    instanceId: () => side.instanceId().catch(rethrowNamed),
    storeCopies: () => side.storeCopies().catch(rethrowNamed),
    fetchCopy: (name, target) => side.fetchCopy(name, target).catch(rethrowNamed),
  };
}

function rethrowNamed(error: unknown): never {
  throw named(error);
}

function named(error: unknown): unknown {
  return error instanceof StorageError && error.fault !== "corrupt"
    ? withoutSecondaryHelp(EXIT.storeUnavailable, error)
    : error;
}
