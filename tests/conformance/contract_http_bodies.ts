/**
 * The contract of every store that is reached by HTTP: answers whose bytes break off, stall,
 * are slow, too few, too many or damaged, or of another object than the first ones.
 *
 * @module
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { StorageError } from "../../src/storage/storage_error.ts";
import { ManualClock } from "../support/manual_clock.ts";
import { expectContent, get, MIB, put, rejectsAs } from "./contract_tools.ts";
import type { ProxiedRequest, ProxyPlan } from "./fault_proxy.ts";
import {
  everyRequest,
  HTTP_KEY,
  type HttpFixture,
  type HttpTest,
  PARTS_BYTES,
  throughProxy,
} from "./http_site.ts";
import { hashOf, MemoryTarget, patternBytes } from "./test_bytes.ts";

const IN_RANGES = { restoreChunkThresholdMb: 1, restoreChunkThreads: 3 };

export function testBodies(test: HttpTest, fixture: HttpFixture): void {
  testBreaks(test, fixture);
  testTime(test, fixture);
  testLengths(test, fixture);
  testOtherBytes(test, fixture);
}

const rangeOf = ({ headers }: ProxiedRequest): string | null =>
  headers.get("range") ?? headers.get("x-ms-range");

function testBreaks(test: HttpTest, { isContent }: HttpFixture): void {
  for (const [how, options] of [["whole", {}], ["in ranges", IN_RANGES]] as const) {
    test(`a download ${how} goes on where its connection broke`, async (site) => {
      const bytes = patternBytes(PARTS_BYTES, 2);
      let cutCount = 0;
      const plan: ProxyPlan = (request) => {
        if (!isContent(request) || cutCount >= 3) return null;
        cutCount += 1;
        return { kind: "cut", afterBytes: 3 * MIB + 7 };
      };
      await throughProxy(site, plan, async (backend, proxy) => {
        await put(backend, HTTP_KEY, bytes);
        await expectContent(backend, HTTP_KEY, bytes);
        strictEqual(cutCount, 3);
        const starts = proxy.requests.filter(isContent).map((request) =>
          Number(rangeOf(request)?.match(/^bytes=(\d+)-/)?.[1] ?? 0)
        );
        ok(starts.some((start) => start % (16 * MIB) !== 0), `ranges from ${starts}`);
      }, options);
    });
  }

  test("a download whose every answer breaks at once is unavailable", async (site) => {
    const plan: ProxyPlan = (request) =>
      isContent(request) ? { kind: "cut", afterBytes: 0 } : null;
    await throughProxy(site, plan, async (backend) => {
      await put(backend, HTTP_KEY, patternBytes(2 * MIB, 3));
      await rejectsAs("unavailable", () => get(backend, HTTP_KEY, 2 * MIB));
    });
  });
}

/** Tells of each MiB that it has, so that a test may move its clock on then. */
class WatchedTarget extends MemoryTarget {
  #writtenBytes = 0;
  readonly #waiting: { readonly bytes: number; readonly wake: () => void }[] = [];

  override async write(bytes: Uint8Array, offset: number): Promise<void> {
    await super.write(bytes, offset);
    this.#writtenBytes += bytes.length;
    for (const { bytes: wanted, wake } of this.#waiting) {
      if (this.#writtenBytes >= wanted) wake();
    }
  }

  has(bytes: number): Promise<void> {
    if (this.#writtenBytes >= bytes) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ bytes, wake: resolve });
    return promise;
  }
}

function testTime(test: HttpTest, { isContent }: HttpFixture): void {
  test("a download that stalls goes on after the time that was allowed", async (site) => {
    const clock = new ManualClock(new Date().toISOString());
    const bytes = patternBytes(3 * MIB, 4);
    let isStalled = false;
    const plan: ProxyPlan = (request) => {
      if (!isContent(request) || isStalled) return null;
      isStalled = true;
      return { kind: "stall", afterBytes: MIB };
    };
    await throughProxy(site, plan, async (backend, proxy) => {
      await put(backend, HTTP_KEY, bytes);
      const target = new WatchedTarget();
      const request = { key: HTTP_KEY, target, sizeBytes: bytes.length };
      const download = backend.download(request);
      await target.has(MIB);
      await clock.advance(61_000);
      await download;
      target.expect(bytes);
      strictEqual(proxy.requests.filter(isContent).length, 2);
    }, { clock, stallSecs: 60 });
  });

  test("a slow download may take as long as it likes, while bytes come", async (site) => {
    const clock = new ManualClock(new Date().toISOString());
    const target = new WatchedTarget();
    const plan: ProxyPlan = (request) => {
      if (!isContent(request)) return null;
      const between = async (sentBytes: number): Promise<void> => {
        await target.has(sentBytes);
        await clock.advance(50_000);
      };
      return { kind: "drip", pieceBytes: MIB, between };
    };
    await throughProxy(site, plan, async (backend, proxy) => {
      const bytes = patternBytes(6 * MIB, 5);
      await put(backend, HTTP_KEY, bytes);
      const startMs = clock.nowMs();
      await backend.download({ key: HTTP_KEY, target, sizeBytes: bytes.length });
      target.expect(bytes);
      strictEqual(clock.nowMs() - startMs, 250_000);
      strictEqual(proxy.requests.filter(isContent).length, 1);
    }, { clock, stallSecs: 60 });
  });

  test("a server that takes requests and never answers is unavailable", async (site) => {
    const clock = new ManualClock(new Date().toISOString());
    let onRequest = (): void => {};
    const plan: ProxyPlan = () => {
      onRequest();
      return { kind: "stall", afterBytes: -1 };
    };
    await throughProxy(site, plan, async (backend) => {
      for (const request of everyRequest(backend)) {
        let isOver = false;
        const seen = { next: Promise.withResolvers<void>() };
        onRequest = (): void => seen.next.resolve();
        const result = rejectsAs("unavailable", request).finally(() => {
          isOver = true;
          seen.next.resolve();
        });
        result.catch(() => {}); // awaited below
        while (!isOver) {
          await seen.next.promise;
          seen.next = Promise.withResolvers<void>();
          // A body of megabytes is given more time than others, at 32 KB a second.
          await clock.advance(260_000);
        }
        await result;
      }
    }, { clock, stallSecs: 60 });
  });
}

/** Without the length in the header, so that only counting tells. */
function testLengths(test: HttpTest, { isContent, needsLength }: HttpFixture): void {
  const bytes = patternBytes(PARTS_BYTES, 6);
  const download = (backend: StorageBackend): Promise<void> =>
    expectContent(backend, HTTP_KEY, bytes);

  test("an answer that ends early, as if it were whole, is not taken for the whole", async (site) => {
    let shortCount = 0;
    const plan: ProxyPlan = (request) => {
      if (!isContent(request) || shortCount >= 2) return null;
      shortCount += 1;
      return { kind: "short", afterBytes: MIB / 2 + 1 };
    };
    await throughProxy(site, plan, async (backend) => {
      await put(backend, HTTP_KEY, bytes);
      // Where the answer cannot be read at all, a retry is what goes on.
      while (needsLength && shortCount < 2) {
        await rejectsAs("unavailable", () => download(backend));
      }
      await download(backend);
      strictEqual(shortCount, 2);
    }, IN_RANGES);
  });

  test("answers that always end early fail in the end", async (site) => {
    const plan: ProxyPlan = (request) =>
      isContent(request) ? { kind: "short", afterBytes: 0 } : null;
    await throughProxy(site, plan, async (backend) => {
      await put(backend, HTTP_KEY, bytes);
      await rejectsAs("unavailable", () => download(backend));
    }, IN_RANGES);
  });

  test("an answer with more bytes than were asked for is no success", async (site) => {
    const plan: ProxyPlan = (request) =>
      isContent(request) ? { kind: "long", moreBytes: 1 } : null;
    await throughProxy(site, plan, async (backend) => {
      await put(backend, HTTP_KEY, bytes);
      await rejectsAs(
        needsLength ? "unavailable" : "corrupt",
        () => download(backend),
      );
    }, IN_RANGES);
  });

  test("a proxy that leaves ranges out is not believed", async (site) => {
    const plan: ProxyPlan = (request) => {
      if (!isContent(request)) return null;
      for (const name of ["range", "x-ms-range"]) request.headers.delete(name);
      return null;
    };
    await throughProxy(site, plan, async (backend) => {
      await put(backend, HTTP_KEY, bytes);
      await rejects(() => download(backend), (error) => {
        ok(error instanceof StorageError, String(error));
        return error.fault === "unavailable" || error.fault === "invalid";
      });
    }, IN_RANGES);
  });
}

function testOtherBytes(test: HttpTest, { isContent }: HttpFixture): void {
  for (const [how, options] of [["whole", {}], ["in ranges", IN_RANGES]] as const) {
    test(`bytes that were damaged on the way, ${how}, hash to something else`, async (site) => {
      const bytes = patternBytes(PARTS_BYTES, 9);
      const plan: ProxyPlan = (request) =>
        isContent(request) ? { kind: "flip", atByte: 500_000 } : null;
      await throughProxy(site, plan, async (backend) => {
        await put(backend, HTTP_KEY, bytes);
        const target = new MemoryTarget();
        const request = { key: HTTP_KEY, target, sizeBytes: bytes.length };
        const { hash, info } = await backend.download(request);
        ok(hash !== hashOf(bytes), "the hash is of what was written");
        strictEqual(info.metadata?.hash, hashOf(bytes));
      }, options);
    });
  }

  test("an object that is replaced while it is read fails as precondition", async (site) => {
    const first = patternBytes(40 * MIB, 6);
    const second = patternBytes(4 * MIB, 7);
    const direct: StorageBackend = await site.open(site.origin);
    let getCount = 0;
    const plan: ProxyPlan = async (request) => {
      if (!isContent(request)) return null;
      getCount += 1;
      if (getCount === 2) await put(direct, HTTP_KEY, second, { ifAbsent: false });
      return null;
    };
    await throughProxy(site, plan, async (backend) => {
      await put(backend, HTTP_KEY, first);
      await rejectsAs("precondition", () => get(backend, HTTP_KEY, first.length));
      deepStrictEqual(getCount >= 2, true);
    }, { restoreChunkThresholdMb: 1, restoreChunkThreads: 2 });
    await direct.close();
  });
}
