/**
 * A store in memory that is downloaded as the cloud stores are: big objects in parallel
 * ranges, of which the first is the slowest to come.
 *
 * @module
 */

import { SYSTEM_CLOCK } from "../../src/core/clock.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { downloadInRanges, downloadTools } from "../../src/storage/range_download.ts";
import { MemoryTarget } from "../conformance/test_bytes.ts";

const RANGE_BYTES = 65_536;
const TUNING = {
  chunkThresholdBytes: 2 * RANGE_BYTES,
  chunkThreads: 4,
  rangeBytes: RANGE_BYTES,
};

export interface RangedBackend {
  readonly store: StorageBackend;
  /** Requests for a range that is not the whole object. */
  readonly ranges: { count: number };
}

export function withRanges(inner: StorageBackend): RangedBackend {
  const ranges = { count: 0 };
  const tools = downloadTools(SYSTEM_CLOCK);
  const store: StorageBackend = {
    name: inner.name,
    capabilities: () => inner.capabilities(),
    upload: (request) => inner.upload(request),
    head: (key, signal) => inner.head(key, signal),
    delete: (request) => inner.delete(request),
    list: (prefix, signal) => inner.list(prefix, signal),
    retrieve: (request) => inner.retrieve(request),
    close: () => inner.close(),
    download: (request) =>
      downloadInRanges(request, TUNING, async ({ range }) => {
        const target = new MemoryTarget();
        const { key } = request;
        const { info } = await inner.download({ key, sizeBytes: null, target });
        const start = range?.start ?? 0;
        const bytes = new Uint8Array((range?.end ?? info.sizeBytes) - start);
        await target.read(bytes, start);
        if (range !== null) ranges.count += 1;
        const isFirst = range?.start === 0;
        let left: typeof bytes | null = bytes;
        return {
          info,
          body: {
            read: async () => {
              // Others, which are written at once, come before it.
              if (isFirst) await new Promise((resolve) => setTimeout(resolve, 20));
              const piece = left;
              left = null;
              return piece;
            },
            cancel: () => {},
          },
        };
      }, tools),
  };
  return { store, ranges };
}
