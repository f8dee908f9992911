/**
 * Answers that have ended whole programs, by defects of a runtime or of a vendor's library:
 * an abort while a body is read, a server that answers early and closes TLS while a body is
 * sent, a download that is answered 5xx. The real daemon meets each, as a bundle and as the
 * compiled program: it lives, the operation fails in its own words, and goes on afterwards.
 *
 * @module
 */

import { match, ok, strictEqual } from "node:assert/strict";
import { startFaultProxy } from "../conformance/fault_proxy.ts";
import { createTestAccount } from "../conformance/gcs_account.ts";
import { startGcsServer } from "../conformance/gcs_server.ts";
import { createTestAuthority, pipeTo, startTlsFront } from "../conformance/tls_front.ts";
import { startS3StandIn } from "../support/s3_stand_in.ts";
import { Site, until } from "./site.ts";

const BUILD = new URL("../../build/", import.meta.url).pathname;
const PROGRAMS = { bundle: `${BUILD}p4-cache-deno`, compiled: `${BUILD}p4-cache` };

const SIZE_BYTES = 3_000_000;
const CONTENT = "0123456789".repeat(SIZE_BYTES / 10);
const IMPATIENT = { "retry_max_attempts": 1, "retry_base_ms": 1, "retry_max_ms": 2 };
const KEYS = {
  "access_key": "key",
  "secret_key": "secret",
  bucket: "b",
  "endpoint_pin": true,
};

async function open(executable: string, primary: object): Promise<Site> {
  const site = await Site.open({ executable, config: { primary, ...IMPATIENT } });
  await site.start();
  return site;
}

async function pidOf(site: Site): Promise<number> {
  const config = ["--config", `${site.directory}/config.json`];
  return JSON.parse((await site.cli("status", "--json", ...config)).stdout).pid;
}

async function evictedFile(site: Site): Promise<void> {
  await Deno.writeTextFile(`${site.depot}/a,v`, CONTENT);
  await site.uploaded(1);
  await site.evictAll();
}

async function expectEio(site: Site): Promise<void> {
  const read = await site.program(["cat", `${site.depot}/a,v`], { shim: true });
  match(read.stderr, /Input\/output error/);
}

async function expectWhole(site: Site): Promise<void> {
  const read = await site.program(["cat", `${site.depot}/a,v`], { shim: true });
  strictEqual(read.stdout, CONTENT);
}

/** The newest record of a failed operation, in the store's own class. */
async function lastFailure(site: Site): Promise<Record<string, unknown>> {
  const path = `${site.depot}/.p4cache/p4-cache-failed-ops.log`;
  const text = await Deno.readTextFile(path);
  return JSON.parse(text.trimEnd().split("\n").at(-1)!);
}

/** Nothing reached the guard at the top either. */
async function expectAlive(site: Site, pid: number): Promise<void> {
  strictEqual(await pidOf(site), pid);
  ok(!site.log.includes("nobody awaited"), site.log);
  strictEqual(await site.end("SIGTERM"), 0);
}

/** A body that ends never, after its first bytes. */
function stalledAnswer(sizeBytes: number): Response {
  const stalled = new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(10)),
  });
  const headers = {
    "content-length": String(sizeBytes),
    "etag": '"e"',
    "last-modified": "Thu, 02 Jan 2025 03:04:05 GMT",
  };
  return new Response(stalled, { status: 200, headers });
}

function test(sentence: string, body: (executable: string) => Promise<void>): void {
  for (const [name, executable] of Object.entries(PROGRAMS)) {
    Deno.test({
      name: `${sentence}: ${name}`,
      // The servers are in this process, and see a connection's end a moment later.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: () => body(executable),
    });
  }
}

test("a body that stalls is given up while it is read", async (executable) => {
  await using server = startS3StandIn("b");
  const { endpoint } = server;
  await using site = await open(executable, {
    ...{ type: "s3", endpoint, ...KEYS },
    "stall_secs": 1,
  });
  await evictedFile(site);
  const pid = await pidOf(site);
  server.intercept = ({ method, key }) =>
    method === "GET" && key !== "" ? stalledAnswer(SIZE_BYTES) : null;
  await expectEio(site);
  strictEqual((await lastFailure(site)).storeFault, "unavailable");
  server.intercept = null;
  await expectWhole(site);
  await expectAlive(site, pid);
});

test("a daemon that is stopped while it reads a body ends as it should", async (executable) => {
  await using server = startS3StandIn("b");
  const { endpoint } = server;
  await using site = await open(executable, { type: "s3", endpoint, ...KEYS });
  await evictedFile(site);
  let isAsked = false;
  server.intercept = ({ method, key }) => {
    if (method !== "GET" || key === "") return null;
    isAsked = true;
    return stalledAnswer(SIZE_BYTES);
  };
  const reader = site.program(["cat", `${site.depot}/a,v`], {
    shim: true,
    env: { P4CACHE_RESTART_GRACE_MS: "100" },
  });
  await until("the body is being read", () => isAsked);
  strictEqual(await site.end("SIGTERM"), 0);
  match((await reader).stderr, /Input\/output error/);
  ok(!site.log.includes("nobody awaited"), site.log);
});

test("a server that answers early and closes TLS under an upload is survived", async (executable) => {
  await using server = startS3StandIn("b");
  const { hostname, port } = new URL(server.endpoint);
  const authority = await createTestAuthority();
  let isEarly = false;
  const piped = new Set<Deno.TlsConn>();
  const front = startTlsFront(authority, async (connection) => {
    if (!isEarly) {
      piped.add(connection);
      return await pipeTo(connection, hostname, Number(port));
    }
    await connection.read(new Uint8Array(65_536));
    const answer = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n";
    await connection.write(new TextEncoder().encode(answer));
  });
  const site = await open(executable, {
    ...{ type: "s3", endpoint: `https://localhost:${front.port}`, ...KEYS },
    "ca_cert_path": authority.caPath,
  });
  const pid = await pidOf(site);
  isEarly = true;
  // Those that are kept open would be used again.
  for (const connection of piped) connection.close();
  await Deno.writeTextFile(`${site.depot}/a,v`, CONTENT);
  await until("the upload has failed", () => site.log.includes("upload failed"));
  const { op, fault } = await lastFailure(site);
  strictEqual(op, "upload");
  ok(fault === "unavailable" || fault === "throttled", String(fault));
  isEarly = false;
  const config = ["--config", `${site.directory}/config.json`];
  await site.cli("failed-ops", "retry", ...config);
  await site.uploaded(1);
  strictEqual(server.objects.get("a,v")?.bytes.length, SIZE_BYTES);
  await expectAlive(site, pid);
  await site[Symbol.asyncDispose]();
  await front.close();
  await authority.remove();
});

test("a download that Google answers 5xx, again and again, is survived", async (executable) => {
  const account = createTestAccount();
  const { publicKey } = account;
  const server = startGcsServer({ bucket: "b", publicKey });
  let isAway = false;
  const proxy = startFaultProxy(
    server.endpoint,
    ({ target, index }) =>
      isAway && target.includes("alt=media")
        ? { kind: "answer", status: index % 2 === 0 ? 503 : 500, body: "backend error" }
        : null,
  );
  const directory = await Deno.makeTempDir();
  const file = `${directory}/account.json`;
  await account.writeFile(file, `${server.endpoint}/token`);
  const site = await open(executable, {
    ...{ type: "gcs", bucket: "b", endpoint: proxy.origin, "endpoint_pin": true },
    "credentials_file": file,
  });
  await evictedFile(site);
  const pid = await pidOf(site);
  isAway = true;
  await expectEio(site);
  match(String((await lastFailure(site)).storeFault), /^(?:unavailable|throttled)$/);
  isAway = false;
  await expectWhole(site);
  await expectAlive(site, pid);
  await site[Symbol.asyncDispose]();
  await proxy.close();
  await server.close();
  await Deno.remove(directory, { recursive: true });
});
