import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import {
  type AbandonedRequests,
  abortAbandoned,
  type BegunPage,
  type BegunUpload,
  isAbandoned,
} from "./s3_abandoned.ts";

const DAY = 86_400_000;
const NOW = 100 * DAY;

function begun(key: string, ageMs: number, UploadId = key): BegunUpload {
  const upload = { Bucket: "b", Key: `p/${key}`, UploadId };
  return { key, upload, begunAtMs: NOW - ageMs };
}

Deno.test("isAbandoned() takes what is old and named as ours, and nothing else", () => {
  const none: ReadonlySet<string> = new Set();
  const ours = [
    "d/a,v",
    "d/b.bin,d/1.7.gz",
    "d/b.bin,d/1.7",
    "d/a,v.p4cv-0123456789abcdef",
    ".p4cache-bytes/d/a%FF,v",
    ".p4cache-long/0123",
  ];
  for (const key of ours) {
    strictEqual(isAbandoned(begun(key, DAY + 1), NOW, none), true, key);
  }
  for (const key of ["backup.tar", "d/a,v.tmp", "x.p4cv-01", "d,d/x/y"]) {
    strictEqual(isAbandoned(begun(key, 9 * DAY), NOW, none), false, key);
  }
  strictEqual(isAbandoned(begun("a,v", DAY), NOW, none), false, "a day is not over");
  strictEqual(isAbandoned(begun("a,v", 9 * DAY), NOW, new Set(["a,v"])), false, "active");
  const undated = { ...begun("a,v", 0), begunAtMs: null };
  strictEqual(isAbandoned(undated, NOW, none), false);
});

function serverOf(
  pages: readonly BegunPage[],
  objects: readonly string[] = [],
): AbandonedRequests & { aborted: string[] } {
  const aborted: string[] = [];
  return {
    aborted,
    begunUploads: (from) =>
      Promise.resolve(pages[from === null ? 0 : Number(from.uploadId)]!),
    abortParts({ Key }): Promise<void> {
      aborted.push(Key);
      return Promise.resolve();
    },
    hasObject: (key) => Promise.resolve(objects.includes(key)),
  };
}

Deno.test("abortAbandoned() goes through all pages, and believes the earlier clock", async () => {
  const pages: BegunPage[] = [
    {
      uploads: [begun("a,v", 2 * DAY), begun("young,v", 1)],
      next: { key: "a,v", uploadId: "1" },
      nowMs: NOW,
    },
    // The store's clock says that it was begun a moment ago.
    { uploads: [begun("b,v", 2 * DAY)], next: null, nowMs: NOW - 2 * DAY },
  ];
  const server = serverOf(pages);
  const { signal } = new AbortController();
  const options = { nowMs: (): number => NOW, active: new Set<string>(), signal };
  strictEqual(await abortAbandoned(server, options), 1);
  deepStrictEqual(server.aborted, ["p/a,v"]);
  const early = { ...options, nowMs: (): number => NOW - 2 * DAY };
  strictEqual(await abortAbandoned(serverOf(pages), early), 0);
});

Deno.test("abortAbandoned() leaves the upload of an object that is there alone", async () => {
  const uploads = [begun("whole,v", 2 * DAY), begun("left,v", 2 * DAY)];
  const server = serverOf([{ uploads, next: null, nowMs: NOW }], ["whole,v"]);
  const { signal } = new AbortController();
  const options = { nowMs: (): number => NOW, active: new Set<string>(), signal };
  strictEqual(await abortAbandoned(server, options), 1);
  deepStrictEqual(server.aborted, ["p/left,v"]);
});

Deno.test("abortAbandoned() aborts nothing while it cannot look for the object", async () => {
  const server = serverOf([
    { uploads: [begun("a,v", 2 * DAY)], next: null, nowMs: NOW },
  ]);
  const hasObject = (): Promise<boolean> => Promise.reject(new Error("denied"));
  const { signal } = new AbortController();
  const options = { nowMs: (): number => NOW, active: new Set<string>(), signal };
  await rejects(() => abortAbandoned({ ...server, hasObject }, options), /denied/);
  deepStrictEqual(server.aborted, []);
});
