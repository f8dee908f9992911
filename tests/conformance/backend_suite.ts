/**
 * What every StorageBackend must do, whatever is behind it and whatever wraps it.
 *
 * Each backend's and each wrapper's test file calls {@linkcode testBackend}. A bug found
 * in one is fixed by adding a test to the contract's files, so that all others are asked
 * as well.
 *
 * @module
 */

import type { StorageBackend } from "../../src/storage/backend.ts";
import { testArchive } from "./contract_archive.ts";
import { testConditions } from "./contract_conditions.ts";
import { testAborts, testDamage } from "./contract_failures.ts";
import { testKeys, testListing, testPaths } from "./contract_keys.ts";
import { testMoves } from "./contract_moves.ts";
import { MIB } from "./contract_tools.ts";
import { testDescriptions, testTransfers } from "./contract_transfers.ts";

/** A store for one test: empty, and gone after `close()`. */
export interface OpenStore {
  readonly backend: StorageBackend;
  /** Bytes that the store puts before each key. Default 0. */
  readonly prefixBytes?: number;
  close(): Promise<void>;
}

export interface BackendFixture {
  readonly name: string;
  open(): Promise<OpenStore>;
  /** Why these tests cannot run here; null if they can. */
  readonly skip?: string | null;
  /** Tests that the server itself cannot pass, by their sentence, with the reason. */
  readonly notAsked?: Readonly<Record<string, string>>;
  /** A size that the backend uploads in parts and downloads in ranges. */
  readonly largeBytes?: number;
  /** Sizes at the edges of the backend's parts and ranges. */
  readonly edgeBytes?: readonly number[];
  /** How many objects a listing takes that needs more than one page. */
  readonly listedCount?: number;
}

export function testBackend(fixture: BackendFixture): void {
  const skip = fixture.skip ?? null;
  // deno-lint-ignore no-console -- a skip says why
  if (skip !== null) console.log(`skipped: ${fixture.name}: ${skip}`);
  const test = (
    sentence: string,
    body: (backend: StorageBackend, prefixBytes: number) => Promise<void>,
  ): void => {
    const reason = fixture.notAsked?.[sentence];
    if (reason !== undefined) {
      // deno-lint-ignore no-console -- what is left out says why
      return console.log(`not asked of ${fixture.name}: ${sentence}: ${reason}`);
    }
    Deno.test({
      name: `${fixture.name}: ${sentence}`,
      ignore: skip !== null,
      async fn(): Promise<void> {
        const store = await fixture.open();
        try {
          await body(store.backend, store.prefixBytes ?? 0);
        } finally {
          await store.close();
        }
      },
    });
  };
  testTransfers(test, [
    ...(fixture.edgeBytes ?? []),
    fixture.largeBytes ?? 3 * MIB + 17,
  ]);
  testDescriptions(test);
  testConditions(test, fixture.largeBytes ?? 3 * MIB + 17);
  testMoves(test);
  testDamage(test);
  testAborts(test, fixture.largeBytes ?? 3 * MIB + 17);
  testKeys(test);
  testPaths(test);
  testArchive(test);
  testListing(test, fixture.listedCount ?? 40);
}
