/**
 * Completions whose answer gets lost, at a stand-in that goes on completing and that, as Ceph
 * does, takes the bytes of an object away when its upload is aborted.
 */

import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { FakeClock } from "../../../tests/conformance/fake_clock.ts";
import { metadataOf, sourceOf } from "../../../tests/conformance/test_bytes.ts";
import { s3ErrorAnswer, startS3StandIn } from "../../../tests/support/s3_stand_in.ts";
import { SYSTEM_CLOCK } from "../../core/clock.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { ObjectInfo, StorageBackend } from "../backend.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../retrying_backend.ts";
import { openS3Backend } from "./s3_backend.ts";

const BYTES = new Uint8Array(2 * 5 * 1_048_576).fill(7);
const KEY = objectKeyOf("x,v");
const XML = { headers: { "content-type": "application/xml" } };

/** What the service does with the n-th completion, from 1. */
interface Fate {
  /** The object is there afterwards. */
  readonly completes: boolean;
  /** Null: as if it were done in time. */
  readonly answer: Response | "never" | null;
}

interface Scene extends AsyncDisposable {
  /** What came, without the parts. */
  readonly asked: string[];
  upload(signal?: AbortSignal): Promise<ObjectInfo>;
  /** The service ends what it was asked for after all. */
  completeLate(id: string): void;
  /** Whether its bytes are there, as a GET would tell. */
  isReadable(): boolean;
}

async function openScene(
  fateOf: (count: number) => Fate,
  { stallSecs = 60, onComplete = (): void => {} } = {},
): Promise<Scene> {
  const server = startS3StandIn("b");
  const asked: string[] = [];
  let object: { id: string; hasBytes: boolean } | null = null;
  let [begunCount, completedCount] = [0, 0];
  let sent: Headers | null = null;
  server.intercept = ({ method, key, query, headers }): Response | null => {
    if (key !== KEY) return null;
    const id = query.get("uploadId");
    if (method === "POST" && query.has("uploads")) {
      asked.push("begin");
      sent = headers;
      const xml = `<UploadId>${++begunCount}</UploadId>`;
      return new Response(
        `<InitiateMultipartUploadResult>${xml}</InitiateMultipartUploadResult>`,
        XML,
      );
    }
    if (method === "PUT" && id !== null) {
      return new Response(null, { headers: { etag: '"x"' } });
    }
    if (method === "POST" && id !== null) {
      asked.push(`complete ${id}`);
      const { completes, answer } = fateOf(++completedCount);
      if (completes) object = { id, hasBytes: true };
      onComplete();
      if (answer === "never") {
        return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
      }
      const xml = "<ETag>&quot;z-2&quot;</ETag>";
      return answer ?? new Response(
        `<CompleteMultipartUploadResult>${xml}</CompleteMultipartUploadResult>`,
        XML,
      );
    }
    if (method === "DELETE" && id !== null) {
      asked.push(`abort ${id}`);
      if (object?.id === id) object.hasBytes = false;
      return new Response(null, { status: 204 });
    }
    if (method !== "HEAD") return null;
    asked.push("head");
    const numbered = { "x-amz-request-id": "1" };
    if (object === null) return new Response(null, { status: 404, headers: numbered });
    const hash = sent!.get("x-amz-meta-p4cache-hash")!;
    return new Response(null, {
      headers: {
        ...numbered,
        "content-length": String(BYTES.length),
        etag: '"z-2"',
        "x-amz-meta-p4cache-hash": hash,
      },
    });
  };
  const retry = {
    policy: DEFAULT_RETRY_POLICY,
    clock: new FakeClock(),
    random: Math.random,
  };
  const open = async (): Promise<StorageBackend> =>
    await openS3Backend({
      ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s", uploadPartMb: 5 },
      ...{ endpoint: server.endpoint, endpointPin: true, stallSecs },
    }, testTools({ retry, clock: SYSTEM_CLOCK }));
  const backend = withRetry(await open(), retry.policy, retry.clock, retry.random);
  return {
    asked,
    completeLate: (id) => void (object = { id, hasBytes: true }),
    isReadable: () => object?.hasBytes === true,
    upload: (signal) =>
      backend.upload({
        key: KEY,
        source: sourceOf(BYTES),
        metadata: metadataOf(BYTES),
        ...(signal === undefined ? {} : { signal }),
      }),
    async [Symbol.asyncDispose](): Promise<void> {
      await backend.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

const badGateway = (): Response =>
  new Response("<html>Bad Gateway</html>", { status: 502 });
const internal = (): Response => s3ErrorAnswer(500, "InternalError", "Please try again.");
const noSuchUpload = (): Response => s3ErrorAnswer(404, "NoSuchUpload", "none");
const exists = (): Response => s3ErrorAnswer(412, "PreconditionFailed", "not held");

const LOST: readonly { which: string; answer: () => Response }[] = [
  { which: "a proxy's 502", answer: badGateway },
  { which: "a proxy's 403", answer: () => new Response("no", { status: 403 }) },
  { which: "an internal error", answer: internal },
  {
    which: "an internal error after 200",
    answer: () =>
      new Response(
        "<?xml version='1.0'?>\n\n<Error><Code>InternalError</Code></Error>",
        XML,
      ),
  },
];

for (const { which, answer } of LOST) {
  Deno.test(`a completion that is answered by ${which} is not aborted`, async () => {
    await using scene = await openScene(() => ({ completes: true, answer: answer() }));
    await scene.upload().catch(() => {});
    strictEqual(scene.isReadable(), true);
    deepStrictEqual(scene.asked.filter((it) => it.startsWith("abort")), []);
    deepStrictEqual(scene.asked.filter((it) => it === "begin"), ["begin"]);
  });
}

Deno.test("a completion whose answer is lost is looked for, and not sent again if it is done", async () => {
  await using scene = await openScene(() => ({ completes: true, answer: badGateway() }));
  strictEqual((await scene.upload()).etag, '"z-2"');
  deepStrictEqual(scene.asked, ["head", "begin", "head", "complete 1", "head"]);
});

Deno.test("a completion that was not done is sent again, and no part is", async () => {
  await using scene = await openScene((count) =>
    count < 3
      ? { completes: false, answer: internal() }
      : { completes: true, answer: null }
  );
  strictEqual((await scene.upload()).etag, '"z-2"');
  const again = ["head", "complete 1"];
  deepStrictEqual(scene.asked, ["head", "begin", ...again, ...again, ...again]);
  strictEqual(scene.isReadable(), true);
});

Deno.test("an upload that is gone when its completion is sent again is looked for", async () => {
  await using scene = await openScene((count) =>
    count === 1
      ? { completes: false, answer: badGateway() }
      : { completes: true, answer: noSuchUpload() }
  );
  strictEqual((await scene.upload()).etag, '"z-2"');
  strictEqual(scene.isReadable(), true);
});

Deno.test("an upload that is gone without an object is begun anew", async () => {
  await using scene = await openScene((count) =>
    count === 1
      ? { completes: false, answer: noSuchUpload() }
      : { completes: true, answer: null }
  );
  strictEqual((await scene.upload()).etag, '"z-2"');
  deepStrictEqual(scene.asked.filter((it) => it !== "head"), [
    "begin",
    "complete 1",
    "begin",
    "complete 2",
  ]);
});

Deno.test("a completion that stays unanswered is left, and found by the next upload", async () => {
  await using scene = await openScene(() => ({ completes: false, answer: internal() }));
  await rejects(() => scene.upload(), { fault: "unavailable", isTransient: false });
  deepStrictEqual(scene.asked.filter((it) => it !== "head"), [
    "begin",
    ...Array(4).fill("complete 1"),
  ]);
  scene.completeLate("1");
  await rejects(() => scene.upload(), { fault: "precondition" });
  strictEqual(scene.asked.filter((it) => it === "begin").length, 1, "nothing is sent");
  strictEqual(scene.isReadable(), true);
});

Deno.test("a completion that stalls is not aborted", async () => {
  await using scene = await openScene(
    (count) =>
      count === 1 ? { completes: true, answer: "never" } : {
        completes: true,
        answer: null,
      },
    { stallSecs: 5 },
  );
  strictEqual((await scene.upload()).etag, '"z-2"');
  deepStrictEqual(scene.asked, ["head", "begin", "head", "complete 1", "head"]);
});

Deno.test("a completion is not aborted by our own stop", async () => {
  const stop = new AbortController();
  const reason = new Error("the daemon stops");
  await using scene = await openScene(() => ({ completes: true, answer: "never" }), {
    onComplete: () => stop.abort(reason),
  });
  await rejects(() => scene.upload(stop.signal), reason);
  deepStrictEqual(scene.asked, ["head", "begin", "head", "complete 1"]);
  strictEqual(scene.isReadable(), true);
});

Deno.test("a completion that the service refuses is aborted", async () => {
  await using scene = await openScene(() => ({ completes: false, answer: exists() }));
  await rejects(() => scene.upload(), { fault: "precondition" });
  deepStrictEqual(scene.asked.slice(-2), ["complete 1", "abort 1"]);
});

Deno.test("a completion with a part that is damaged is aborted, and the upload begun anew", async () => {
  const invalid = (): Response => s3ErrorAnswer(400, "InvalidPart", "could not be found");
  await using scene = await openScene((count) =>
    count === 1
      ? { completes: false, answer: invalid() }
      : { completes: true, answer: null }
  );
  strictEqual((await scene.upload()).etag, '"z-2"');
  deepStrictEqual(scene.asked.filter((it) => it !== "head"), [
    "begin",
    "complete 1",
    "abort 1",
    "begin",
    "complete 2",
  ]);
});

Deno.test("a refusal says nothing of the completion before it, which is not aborted", async () => {
  await using scene = await openScene((count) => ({
    completes: false,
    answer: count === 1 ? badGateway() : exists(),
  }));
  await rejects(() => scene.upload(), { fault: "precondition" });
  deepStrictEqual(scene.asked.filter((it) => it.startsWith("abort")), []);
});

Deno.test("an upload in parts with a token that is over is denied by its first look, so that the store is opened anew", async () => {
  const server = startS3StandIn("b");
  server.intercept = ({ method, key }) =>
    method === "HEAD" && key === KEY ? new Response(null, { status: 400 }) : null;
  const backend = await openS3Backend({
    ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s", uploadPartMb: 5 },
    ...{ endpoint: server.endpoint, endpointPin: true },
  }, testTools());
  try {
    const upload = { key: KEY, source: sourceOf(BYTES), metadata: metadataOf(BYTES) };
    await rejects(() => backend.upload(upload), { fault: "denied" });
  } finally {
    await backend.close();
    await server[Symbol.asyncDispose]();
  }
});
