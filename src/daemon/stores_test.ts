/**
 * Stores as the daemon opens them: with keys that are replaced while it runs.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { s3ErrorAnswer, startS3StandIn } from "../../tests/support/s3_stand_in.ts";
import { parseConfig } from "../config/parse_config.ts";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { objectKeyOf } from "../core/names.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import { openStores, type Stores } from "./stores.ts";

const KEY = objectKeyOf("a,v");

function open(primary: object): Promise<Stores> {
  const parsed = parseConfig({ "depot_path": "/depot", primary });
  if (!("config" in parsed)) throw new Error(JSON.stringify(parsed.problems));
  return openStores({
    config: () => parsed.config,
    clock: SYSTEM_CLOCK,
    posix: { readFile: () => Promise.reject(new Error("no directory is opened here")) },
    log: createMemoryLogger(),
    metrics: createMetrics(),
    watermark: {},
    userAgent: "p4-cache-test",
  });
}

Deno.test("an S3 key in a file is replaced and revoked without a failed request", async () => {
  await using server = startS3StandIn("b");
  const directory = await Deno.makeTempDir();
  const write = async (key: string): Promise<void> => {
    await Deno.writeTextFile(`${directory}/key`, `${key}\n`);
    await Deno.writeTextFile(`${directory}/secret`, `secret of ${key}\n`);
  };
  let accepted = "AKIAONE";
  server.intercept = ({ headers }) =>
    headers.get("authorization")?.includes(`Credential=${accepted}/`)
      ? null
      : s3ErrorAnswer(403, "InvalidAccessKeyId", "The key you provided does not exist");
  await write("AKIAONE");
  const { primary, credentialEnds } = await open({
    "type": "s3",
    "bucket": "b",
    "endpoint": server.endpoint,
    "endpoint_pin": true,
    "access_key": { "file": `${directory}/key` },
    "secret_key": { "file": `${directory}/secret` },
  });
  deepStrictEqual(credentialEnds, { primary: null, secondary: null });
  deepStrictEqual(await Array.fromAsync(primary.list("")), []);
  await write("AKIATWO");
  accepted = "AKIATWO";
  deepStrictEqual(await Array.fromAsync(primary.list("")), []);
  strictEqual((await Array.fromAsync(primary.list("x"))).length, 0);
  await primary.close();
  await Deno.remove(directory, { recursive: true });
});

Deno.test("an Azure SAS is followed to its end, and to that of the one that replaces it", async () => {
  let accepted = "one";
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen(): void {} },
    (request) => {
      const { searchParams } = new URL(request.url);
      const isGood = searchParams.get("sig") === accepted;
      const code = isGood ? "BlobNotFound" : "AuthenticationFailed";
      const headers = { "x-ms-error-code": code };
      return new Response(null, { status: isGood ? 404 : 403, headers });
    },
  );
  const file = await Deno.makeTempFile();
  const write = (end: string, signature: string): Promise<void> =>
    Deno.writeTextFile(
      file,
      `sv=2024-11-04&se=${encodeURIComponent(end)}&sig=${signature}`,
    );
  await write("2040-01-01T00:00:00Z", "one");
  const { primary, credentialEnds } = await open({
    "type": "azure",
    "account_name": "account",
    "container": "c",
    "endpoint": `http://127.0.0.1:${server.addr.port}/account`,
    "endpoint_pin": true,
    "sas_token": { "file": file },
  });
  strictEqual(credentialEnds.primary, Date.parse("2040-01-01T00:00:00Z"));
  strictEqual(await primary.head(KEY), null);
  await write("2041-01-01T00:00:00Z", "two");
  accepted = "two";
  strictEqual(await primary.head(KEY), null);
  strictEqual(credentialEnds.primary, Date.parse("2041-01-01T00:00:00Z"));
  await primary.close();
  await server.shutdown();
  await Deno.remove(file);
});
