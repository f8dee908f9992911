/**
 * What Google's answers, and those of whoever gives tokens, do to the Google backend when
 * they go wrong. After each case the process is alive, and the error is classified.
 */

import { ok, rejects, strictEqual } from "node:assert/strict";
import { StorageError } from "../../src/storage/storage_error.ts";
import { expectSecondaryServes } from "./contract_moves.ts";
import { expectContent, MIB, put, rejectsAs } from "./contract_tools.ts";
import { startFaultProxy } from "./fault_proxy.ts";
import { createTestAccount } from "./gcs_account.ts";
import { GCS_ACCOUNT as account, type GcsSite, startGcsSite } from "./gcs_site.ts";
import { HTTP_KEY as KEY } from "./http_site.ts";
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
