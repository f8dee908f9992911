import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { withFaults } from "../../tests/conformance/faulty_backend.ts";
import { FakeClock } from "../../tests/conformance/fake_clock.ts";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../core/names.ts";
import type { StorageBackend } from "./backend.ts";
import { openMemBackend } from "./mem/mem_backend.ts";
import { withRenewal } from "./renewing_backend.ts";
import { StorageError } from "./storage_error.ts";

const KEY = objectKeyOf("a,v");
const BYTES = patternBytes(10, 1);

/** A store that takes one key at a time, and what was opened and closed with which. */
class Site {
  readonly clock = new FakeClock();
  readonly inner = openMemBackend();
  readonly events: string[] = [];
  readonly warnings: string[] = [];
  /** What the store takes, and what the file says. */
  accepted = "1";
  written = "1";
  isOurs = true;
  isReadable = true;

  open(): Promise<StorageBackend> {
    return withRenewal({
      clock: this.clock,
      fingerprint: () => {
        if (!this.isReadable) throw new Error("the file is gone");
        return this.isOurs ? this.written : null;
      },
      onWarning: (message) => void this.warnings.push(message),
      open: () => {
        const mine = this.written;
        this.events.push(`open ${mine}`);
        const backend = withFaults(
          this.inner,
          () => this.accepted === mine ? null : { when: "before", fault: "denied" },
        );
        const close = (): Promise<void> => {
          this.events.push(`close ${mine}`);
          return Promise.resolve();
        };
        return Promise.resolve(Object.assign(backend, { close }));
      },
    });
  }
}

function put(backend: StorageBackend): Promise<unknown> {
  return backend.upload({
    key: KEY,
    source: sourceOf(BYTES),
    metadata: metadataOf(BYTES),
  });
}

const isDenied = (error: unknown): boolean =>
  error instanceof StorageError && error.fault === "denied";

Deno.test("a key that was replaced and revoked costs no failure, whatever was asked", async () => {
  const requests: readonly ((backend: StorageBackend) => Promise<unknown>)[] = [
    put,
    (backend) => backend.head(KEY),
    (backend) => backend.delete({ key: KEY }),
    (backend) => Array.fromAsync(backend.list("")),
  ];
  for (const request of requests) {
    const site = new Site();
    const backend = await site.open();
    site.accepted = "2";
    site.written = "2";
    await request(backend);
    deepStrictEqual(site.events, ["open 1", "open 2", "close 1"]);
    await backend.close();
    strictEqual(site.events.at(-1), "close 2");
  }
});

Deno.test("a denial with the same key is a denial, and opens nothing", async () => {
  const site = new Site();
  const backend = await site.open();
  site.accepted = "2";
  await rejects(() => put(backend), isDenied);
  await rejects(() => Array.fromAsync(backend.list("")), isDenied);
  deepStrictEqual(site.events, ["open 1"]);
});

Deno.test("a key that is replaced in time is in use within a minute, without any denial", async () => {
  const site = new Site();
  const backend = await site.open();
  site.written = "2";
  await backend.head(KEY);
  deepStrictEqual(site.events, ["open 1"]);
  site.clock.sleep(61_000);
  site.accepted = "2";
  await backend.head(KEY);
  deepStrictEqual(site.events, ["open 1", "open 2", "close 1"]);
});

Deno.test("a request under way ends on the store that it began on, which closes after it", async () => {
  const site = new Site();
  const backend = await site.open();
  const { promise: mayGoOn, resolve: goOn } = Promise.withResolvers<void>();
  const { promise: isReading, resolve: onRead } = Promise.withResolvers<void>();
  const slow = {
    sizeBytes: BYTES.length,
    async read(buffer: Uint8Array, offset: number): Promise<number> {
      onRead();
      await mayGoOn;
      return await sourceOf(BYTES).read(buffer, offset);
    },
  };
  const upload = backend.upload({ key: KEY, source: slow, metadata: metadataOf(BYTES) });
  await isReading;
  site.written = site.accepted = "2";
  await backend.head(objectKeyOf("b,v"));
  deepStrictEqual(site.events, ["open 1", "open 2"]);
  goOn();
  await upload;
  deepStrictEqual(site.events, ["open 1", "open 2", "close 1"]);
});

Deno.test("many requests that are denied at once open the store once", async () => {
  const site = new Site();
  const backend = await site.open();
  site.accepted = site.written = "2";
  await Promise.all(Array.from({ length: 20 }, () => backend.head(KEY)));
  deepStrictEqual(site.events, ["open 1", "open 2", "close 1"]);
});

Deno.test("a key that cannot be read is warned of, and the one before stays in use", async () => {
  const site = new Site();
  const backend = await site.open();
  site.isReadable = false;
  site.clock.sleep(61_000);
  await put(backend);
  strictEqual(site.warnings.length, 1);
  ok(site.warnings[0]?.includes("the file is gone"));
  site.accepted = "2";
  await rejects(() => put(backend), isDenied);
});

Deno.test("credentials that are not ours to read are asked for anew, at most once a minute", async () => {
  const site = new Site();
  site.isOurs = false;
  const backend = await site.open();
  site.accepted = "2";
  await rejects(() => backend.head(KEY), isDenied);
  await rejects(() => backend.head(KEY), isDenied);
  strictEqual(site.events.filter((it) => it.startsWith("open")).length, 2);
  site.written = "2";
  site.clock.sleep(61_000);
  strictEqual(await backend.head(KEY), null);
});
