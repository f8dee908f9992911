import { deepStrictEqual } from "node:assert/strict";
import { FakeClock } from "../../../tests/conformance/fake_clock.ts";
import { patternBytes } from "../../../tests/conformance/test_bytes.ts";
import { objectKeyOf } from "../../core/names.ts";
import { DEFAULT_RETRY_POLICY } from "../retrying_backend.ts";
import { StorageError } from "../storage_error.ts";
import { GcsRequests } from "./gcs_requests.ts";
import { type Body, EMPTY_BODY } from "../http/body.ts";
import { GcsSession } from "./gcs_session.ts";

type Answer = { readonly receivedBytes: number } | Error;

/** Sends one chunk of 1,000 bytes, not the last; each answer is one to a request, in order. */
async function sendOne(answers: Answer[]): Promise<{ told: number[]; sent: number[] }> {
  const told: number[] = [];
  const sent: number[] = [];
  const putChunk: GcsRequests["putChunk"] = (_, chunk) => {
    if (chunk !== null) sent.push(chunk.bytes.length);
    const value = answers.shift()!;
    return value instanceof Error
      ? Promise.reject(value)
      : Promise.resolve({ value, dateMs: null });
  };
  const session = new GcsSession({
    requests: { putChunk } as GcsRequests,
    retry: { policy: DEFAULT_RETRY_POLICY, clock: new FakeClock(), random: () => 0 },
    onResend: (sizeBytes) => Promise.resolve(void told.push(sizeBytes)),
    url: "http://session",
    key: objectKeyOf("a,v"),
    totalBytes: 2_000,
    signal: undefined,
  });
  await session.send({ offset: 0, bytes: patternBytes(1_000, 1), md5Hash: null });
  return { told, sent };
}

Deno.test("a limit of bandwidth is told of what of a chunk is sent again, and of nothing else", async () => {
  const lost = new StorageError("unavailable", {
    ...{ operation: "upload", key: "a,v", detail: "the connection was reset" },
  });
  const whole = { receivedBytes: 1_000 };
  deepStrictEqual(await sendOne([whole]), { told: [], sent: [1_000] });
  // The first request fails; the service says what it has of it, and gets the rest.
  deepStrictEqual(await sendOne([lost, { receivedBytes: 0 }, whole]), {
    told: [1_000],
    sent: [1_000, 1_000],
  });
  deepStrictEqual(await sendOne([lost, { receivedBytes: 256 }, whole]), {
    told: [744],
    sent: [1_000, 744],
  });
  deepStrictEqual(await sendOne([{ receivedBytes: 512 }, whole]), {
    told: [488],
    sent: [1_000, 488],
  });
});

Deno.test("a session ends with 200 or 201, and goes on with 308", async () => {
  const object = JSON.stringify({ name: "a,v", generation: "1" });
  const answered = async (status: number): Promise<unknown> => {
    const body = status === 308 ? EMPTY_BODY : bodyOf(object);
    const requests = new GcsRequests({
      base: "http://gcs",
      options: { type: "gcs", bucket: "b" },
      tokens: { token: () => Promise.resolve("t"), forget(): void {}, close(): void {} },
      userAgent: "",
      transport: {
        send: () => Promise.resolve({ status, headers: {}, body }),
        close(): void {},
      },
    });
    return (await requests.putChunk("http://session", null, 5, undefined)).value;
  };
  for (const status of [200, 201]) {
    deepStrictEqual(await answered(status), JSON.parse(object));
  }
  deepStrictEqual(await answered(308), { receivedBytes: 0 });
});

function bodyOf(text: string): Body {
  const pieces = [new TextEncoder().encode(text)];
  return { read: () => Promise.resolve(pieces.shift() ?? null), cancel(): void {} };
}
