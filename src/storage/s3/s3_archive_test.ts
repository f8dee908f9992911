import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { s3ErrorAnswer, startS3StandIn } from "../../../tests/support/s3_stand_in.ts";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../../tests/conformance/test_bytes.ts";
import { MemoryTarget } from "../../../tests/conformance/test_bytes.ts";
import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { rejectsAs } from "../../../tests/conformance/contract_tools.ts";
import { objectKeyOf } from "../../core/names.ts";
import type { StorageBackend } from "../backend.ts";
import { archiveStateOf, restoreRequestOf } from "./s3_archive.ts";
import { openS3Backend } from "./s3_backend.ts";

const KEY = objectKeyOf("d/a,v");
const BYTES = patternBytes(1_000, 5);

Deno.test("archiveStateOf() reads what S3 documents of each class", () => {
  const ongoing = 'ongoing-request="true"';
  const ended = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"';
  const cases = [
    [{}, null],
    [{ StorageClass: "STANDARD_IA" }, null],
    [{ StorageClass: "GLACIER_IR" }, null],
    [{ StorageClass: "INTELLIGENT_TIERING" }, null],
    [{ StorageClass: "GLACIER" }, "archived"],
    [{ StorageClass: "DEEP_ARCHIVE" }, "archived"],
    [
      { StorageClass: "INTELLIGENT_TIERING", ArchiveStatus: "ARCHIVE_ACCESS" },
      "archived",
    ],
    [{ StorageClass: "GLACIER", Restore: ongoing }, "retrieving"],
    [{
      StorageClass: "INTELLIGENT_TIERING",
      ArchiveStatus: "DEEP_ARCHIVE_ACCESS",
      Restore: ongoing,
    }, "retrieving"],
    [{ StorageClass: "DEEP_ARCHIVE", Restore: ended }, "retrieved"],
  ] as const;
  for (const [headers, state] of cases) {
    strictEqual(archiveStateOf(headers), state, JSON.stringify(headers));
  }
});

Deno.test("restoreRequestOf() names no days where the object comes back for good", () => {
  deepStrictEqual(restoreRequestOf("GLACIER", "bulk", 3), {
    Days: 3,
    GlacierJobParameters: { Tier: "Bulk" },
  });
  deepStrictEqual(restoreRequestOf("INTELLIGENT_TIERING", "standard", 3), {
    GlacierJobParameters: { Tier: "Standard" },
  });
});

async function withStore(
  body: (
    backend: StorageBackend,
    server: ReturnType<typeof startS3StandIn>,
  ) => Promise<void>,
): Promise<void> {
  await using server = startS3StandIn("b");
  const keys = { accessKey: "a", secretKey: "s" };
  const { endpoint } = server;
  const backend = await openS3Backend(
    { type: "s3", bucket: "b", endpoint, endpointPin: true, ...keys },
    testTools(),
  );
  try {
    const metadata = metadataOf(BYTES);
    await backend.upload({ key: KEY, source: sourceOf(BYTES), metadata });
    await body(backend, server);
  } finally {
    await backend.close();
  }
}

const request = { key: KEY, speed: "bulk", days: 3 } as const;

Deno.test("an archived object is asked for once, and read when it is there", async () => {
  await withStore(async (backend, server) => {
    server.archive("a,v", "DEEP_ARCHIVE");
    const asked = (): string[] =>
      server.requests.filter(({ query }) => query.has("restore")).map(({ body }) => body);
    const target = new MemoryTarget();
    await rejectsAs(
      "archived",
      () => backend.download({ key: KEY, target, sizeBytes: BYTES.length }),
    );
    strictEqual((await backend.head(KEY))?.archive, "archived");
    strictEqual(await backend.retrieve(request), "retrieving");
    strictEqual(await backend.retrieve(request), "retrieving");
    strictEqual(asked().length, 1, "the second time its state was told by the HEAD");
    strictEqual(asked()[0]?.includes("<Days>3</Days>"), true, asked()[0]);
    strictEqual(asked()[0]?.includes("<Tier>Bulk</Tier>"), true, asked()[0]);
    server.finishRetrievals();
    strictEqual((await backend.head(KEY))?.archive, "retrieved");
    strictEqual(await backend.retrieve(request), "readable");
    await backend.download({ key: KEY, target, sizeBytes: BYTES.length });
    target.expect(BYTES);
    strictEqual(asked().length, 1);
  });
});

Deno.test("a retrieval that somebody else began in the same moment is one", async () => {
  await withStore(async (backend, server) => {
    server.archive("a,v", "GLACIER");
    const message = "Object restore is already in progress";
    server.intercept = ({ query }) =>
      query.has("restore")
        ? s3ErrorAnswer(409, "RestoreAlreadyInProgress", message)
        : null;
    strictEqual(await backend.retrieve(request), "retrieving");
  });
});

Deno.test("a speed that the store has no room for is throttled, a right that lacks is denied", async () => {
  await withStore(async (backend, server) => {
    server.archive("a,v", "GLACIER");
    const answers = [
      [503, "GlacierExpeditedRetrievalNotAvailable", "throttled"],
      [403, "AccessDenied", "denied"],
    ] as const;
    for (const [status, code, fault] of answers) {
      server.intercept = ({ query }) =>
        query.has("restore") ? s3ErrorAnswer(status, code, "no") : null;
      await rejectsAs(fault, () => backend.retrieve(request));
    }
  });
});
