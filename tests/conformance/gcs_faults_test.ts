/**
 * What Google's answers, and those of whoever gives tokens, do to the Google backend when
 * they go wrong. After each case the process is alive, and the error is classified.
 */

import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../src/core/names.ts";
import { evict } from "../../src/engine/evict.ts";
import { observe, REPORTED } from "../../src/engine/observe.ts";
import { upload } from "../../src/engine/upload.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../../src/storage/retrying_backend.ts";
import { StorageError } from "../../src/storage/storage_error.ts";
import { expectSecondaryServes } from "./contract_moves.ts";
import { expectContent, MIB, put, rejectsAs } from "./contract_tools.ts";
import { startFaultProxy } from "./fault_proxy.ts";
import { createTestAccount } from "./gcs_account.ts";
import { GCS_ACCOUNT as account, type GcsSite, startGcsSite } from "./gcs_site.ts";
import { HTTP_KEY as KEY } from "./http_site.ts";
import { FakeClock } from "./fake_clock.ts";
import { type EngineFixture, openEngineFixture } from "../support/engine_fixture.ts";
import { ManualClock } from "../support/manual_clock.ts";
import { patternBytes } from "./test_bytes.ts";

function test(sentence: string, body: (site: GcsSite) => Promise<void>): void {
  Deno.test({
    name: `gcs: ${sentence}`,
    // Both ends are in this process: one may see the other's end a moment later.
    sanitizeResources: false,
    sanitizeOps: false,
    async fn(): Promise<void> {
      const site = await startGcsSite();
      try {
        await body(site);
      } finally {
        await site.close();
      }
    },
  });
}

function read({ root }: EngineFixture, path: string): Promise<Uint8Array> {
  return Deno.readFile(`${root}/${path}`);
}

test("a key that is not the account's is denied", async (site) => {
  const backend = await site.open(site.origin);
  await createTestAccount().writeFile(site.credentialsFile, `${site.origin}/token`);
  await rejectsAs("denied", () => backend.head(KEY));
  await rejectsAs("denied", () => put(backend, KEY, patternBytes(10, 1)));
  await account.writeFile(site.credentialsFile, `${site.origin}/token`);
  await backend.close();
});

test("a credentials file that is absent or no JSON is denied, and read again", async (site) => {
  const backend = await site.open(site.origin);
  await Deno.remove(site.credentialsFile);
  await rejectsAs("denied", () => backend.head(KEY));
  await Deno.writeTextFile(site.credentialsFile, "{");
  await rejectsAs("denied", () => backend.head(KEY));
  await account.writeFile(site.credentialsFile, `${site.origin}/token`);
  strictEqual(await backend.head(KEY), null);
  await backend.close();
});

test("who gives tokens and is away makes the store unavailable", async (site) => {
  const backend = await site.open(site.origin);
  await account.writeFile(site.credentialsFile, "http://127.0.0.1:1/token");
  await rejectsAs("unavailable", () => backend.head(KEY));
  await account.writeFile(site.credentialsFile, `${site.origin}/token`);
  await backend.close();
});

test("what is no token makes the store unavailable", async (site) => {
  const portal = startFaultProxy(
    site.origin,
    () => ({ kind: "answer", status: 200, body: "<html>Log in</html>" }),
  );
  const backend = await site.open(site.origin);
  await account.writeFile(site.credentialsFile, `${portal.origin}/token`);
  await rejectsAs("unavailable", () => backend.head(KEY));
  await account.writeFile(site.credentialsFile, `${site.origin}/token`);
  await backend.close();
  await portal.close();
});

test("a clock that is wrong is told as such", async (site) => {
  const clock = new ManualClock();
  for (const hours of [-2, 2]) {
    await clock.advance(Date.now() + hours * 3_600_000 - clock.nowMs());
    const backend = await site.open(site.origin, { clock });
    await rejects(() => backend.head(KEY), (error) => {
      ok(error instanceof StorageError);
      strictEqual(error.fault, "denied");
      ok(/clock/.test(error.message), error.message);
      return true;
    });
    await backend.close();
  }
});

test("a token that was revoked is replaced without a failure", async (site) => {
  const backend = await site.open(site.origin);
  await put(backend, KEY, patternBytes(10, 2));
  site.server.revokeTokens();
  await expectContent(backend, KEY, patternBytes(10, 2));
  await backend.close();
});

test("an absent bucket is a wrong setting, never an absent object", async (site) => {
  const backend = await site.openWith({ bucket: "there-is-no-such-bucket" });
  await rejectsAs("invalid", () => backend.head(KEY));
  await rejectsAs("invalid", () => put(backend, KEY, patternBytes(10, 3)));
  await rejectsAs("invalid", () => backend.delete({ key: KEY }));
  await rejectsAs("invalid", () => Array.fromAsync(backend.list("")));
  await backend.close();
});

test("a resumable upload that leaves for another host is refused", async (site) => {
  const proxy = startFaultProxy(site.origin, () => null);
  const backend = await site.open(proxy.origin);
  // The session's URL names the server itself, and the pin allows the proxy only.
  site.server.announce(site.origin);
  await rejectsAs("invalid", () => put(backend, KEY, patternBytes(6 * MIB, 6)));
  strictEqual(await backend.head(KEY), null);
  await backend.close();
  await proxy.close();
});

test("what the service did not take of a chunk is sent again", async (site) => {
  const backend = await site.open(site.origin);
  site.server.cutNextChunk(262_144);
  const bytes = patternBytes(12 * MIB + 5, 7);
  await put(backend, KEY, bytes);
  await expectContent(backend, KEY, bytes);
  await backend.close();
});

test("an upload in chunks goes on after a chunk that failed", async (site) => {
  let failCount = 0;
  const proxy = startFaultProxy(site.origin, ({ method, target }) => {
    if (method !== "PUT" || !target.includes("upload_id") || failCount >= 2) return null;
    failCount += 1;
    return failCount === 1
      ? { kind: "answer", status: 502 }
      : { kind: "lose", status: 500 };
  });
  const backend = await site.open(proxy.origin);
  const bytes = patternBytes(12 * MIB + 5, 8);
  await put(backend, KEY, bytes);
  strictEqual(failCount, 2);
  await expectContent(backend, KEY, bytes);
  await backend.close();
  await proxy.close();
});

test("a service that takes nothing of a chunk is asked again after a pause, and given up", async (site) => {
  const clock = new FakeClock();
  const retry = { policy: DEFAULT_RETRY_POLICY, clock, random: (): number => 1 };
  const bytes = patternBytes(12 * MIB + 5, 11);
  const backend = await site.openWith({}, { retry });
  site.server.stallSessions(3);
  await put(backend, KEY, bytes);
  await expectContent(backend, KEY, bytes);
  deepStrictEqual(clock.slept, [500, 1_000, 2_000]);
  site.server.stallSessions(4);
  await rejects(() => put(backend, KEY, bytes, { ifAbsent: false }), {
    fault: "unavailable",
    isTransient: false,
    message: /has 0 bytes, and goes no further/,
  });
  strictEqual(clock.slept.length, 6);
  await backend.close();
});

test("a session that is over ends the upload at once, which is then begun anew", async (site) => {
  let overCount = 0;
  const proxy = startFaultProxy(site.origin, ({ headers }) => {
    if (!headers.get("content-range")?.startsWith("bytes 5242880-")) return null;
    overCount += 1;
    return overCount === 1 ? { kind: "answer", status: 410 } : null;
  });
  const backend = await site.open(proxy.origin);
  const bytes = patternBytes(12 * MIB + 5, 12);
  const clock = new FakeClock();
  const patient = withRetry(backend, DEFAULT_RETRY_POLICY, clock, () => 0);
  await put(patient, KEY, bytes);
  await expectContent(backend, KEY, bytes);
  deepStrictEqual([overCount, clock.slept], [2, [0]]);
  await backend.close();
  await proxy.close();
});

test("a bit that flips in a session is found by the service, and no object appears", async (site) => {
  const backend = await site.open(site.origin);
  const bytes = patternBytes(12 * MIB + 5, 13);
  site.server.damageNextSession();
  await rejects(() => put(backend, KEY, bytes), { fault: "corrupt", isTransient: true });
  strictEqual(await backend.head(KEY), null);
  await put(backend, KEY, bytes);
  await expectContent(backend, KEY, bytes);
  await backend.close();
});

test("a bit that flips where the service does not look is found here, and the object goes", async (site) => {
  const backend = await site.open(site.origin);
  const bytes = patternBytes(12 * MIB + 5, 14);
  site.server.ignoreSessionHashes();
  site.server.damageNextSession();
  await rejects(() => put(backend, KEY, bytes), {
    fault: "corrupt",
    message: /they were deleted/,
  });
  strictEqual(await backend.head(KEY), null);
  await put(backend, KEY, bytes);
  // Who asks whether the name is taken is not in doubt about a sound object.
  await rejectsAs("precondition", () => put(backend, KEY, bytes));
  await rejectsAs("precondition", () => put(backend, KEY, patternBytes(12 * MIB, 15)));
  await expectContent(backend, KEY, bytes);
  await backend.close();
});

for (const status of [503, 403]) {
  test(`an object with other bytes that cannot be deleted (${status}) is never taken for ours`, async (site) => {
    let isRefused = true;
    let refused = 0;
    const proxy = startFaultProxy(site.origin, ({ method, target }) => {
      if (!isRefused || method !== "DELETE" || target.includes("upload_id")) return null;
      refused += 1;
      return { kind: "answer", status };
    });
    const backend = await site.open(proxy.origin);
    const clock = new FakeClock();
    const primary = withRetry(backend, DEFAULT_RETRY_POLICY, clock, () => 0);
    await using fixture = await openEngineFixture({ primary });
    const path = fixture.path("d/a,v");
    await fixture.write("d/a,v", "head 1.1;".repeat(700_000));
    await observe(fixture.context, path, REPORTED);
    site.server.ignoreSessionHashes();
    site.server.damageNextSession();
    for (let i = 1; i <= 2; i++) {
      const before = refused;
      strictEqual(await upload(fixture.context, path), "failed");
      ok(refused > before, "it was not tried to delete it");
      // The second time is the same, and told already.
      deepStrictEqual(fixture.failures.map(({ op }) => op), ["upload"]);
      const { error } = fixture.failures[0]!;
      match(String(error), /other bytes .* and keeps them: .*delete generation \d+$/);
      strictEqual(fixture.manifest.get(path)?.state, "dirty");
      strictEqual(fixture.manifest.get(path)?.stored, null);
      strictEqual(await evict(fixture.context, path), "not-evictable");
    }
    isRefused = false;
    strictEqual(await upload(fixture.context, path), "uploaded");
    await expectContent(backend, objectKeyOf("d/a,v"), await read(fixture, "d/a,v"));
    await backend.close();
    await proxy.close();
  });
}

test("a generation that Google refuses, as ids of another vendor, leads on to the secondary", async (site) => {
  const error = {
    code: 400,
    message: "Invalid argument.",
    errors: [{ reason: "invalid" }],
  };
  let refused = 0;
  const proxy = startFaultProxy(site.origin, ({ target }) => {
    // It is a number, and every range that is read names one that was told just now.
    if (!/[?&]generation=(?!\d+(?:&|$))/.test(target)) return null;
    refused++;
    return { kind: "answer", status: 400, body: JSON.stringify({ error }) };
  });
  const backend = await site.open(proxy.origin);
  await expectSecondaryServes(backend, "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY");
  ok(refused > 0);
  await backend.close();
  await proxy.close();
});
