/**
 * What the test files of the cloud stores share.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import type { BackendTools } from "../../src/storage/backend_options.ts";
import { DEFAULT_RETRY_POLICY } from "../../src/storage/retrying_backend.ts";

const MIB = 1_048_576;

/** With parts of 5 MiB: one whole part, a last part of one byte; the same of ranges. */
export const CLOUD_EDGE_BYTES: readonly number[] = [
  5 * MIB,
  5 * MIB + 1,
  10 * MIB,
  32 * MIB - 1,
  32 * MIB,
  32 * MIB + 1,
];

export function testTools(more: Partial<BackendTools> = {}): BackendTools {
  return {
    clock: SYSTEM_CLOCK,
    posix: { readFile: () => Promise.reject(new Error("no directory is opened here")) },
    retry: {
      policy: { ...DEFAULT_RETRY_POLICY, delayMsMin: 1 },
      clock: SYSTEM_CLOCK,
      random: () => 0,
    },
    watermark: {},
    userAgent: "p4-cache-test",
    onWarning: () => {},
    ...more,
  };
}

/** Deletes what a test left and closes: servers for tests keep all in memory. */
export async function emptied(backend: StorageBackend): Promise<void> {
  let batch: Promise<void>[] = [];
  for await (const { key } of backend.list("")) {
    batch.push(backend.delete({ key }));
    if (batch.length < 32) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
  await backend.close();
}
