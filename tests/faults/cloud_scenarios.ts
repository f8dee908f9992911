/**
 * A cloud store lies: its answers are errors, late, cut short, damaged, or say that something
 * was done that was not. Between the daemon and a stand-in for Google Cloud Storage stands
 * the proxy of the conformance tests.
 *
 * @module
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { until } from "../crash/rig.ts";
import {
  type ProxiedRequest,
  type ProxyFault,
  startFaultProxy,
} from "../conformance/fault_proxy.ts";
import { createTestAccount } from "../conformance/gcs_account.ts";
import { startGcsServer } from "../conformance/gcs_server.ts";
import {
  evictEverything,
  FAILED_UPLOADS,
  type ScenarioBody,
  type Sites,
  workFor,
} from "./site.ts";

const BUCKET = "p4cache-test";
const STALL_SECS = 2;

/** What the proxy does to a request, while it is set. */
interface Lies {
  plan: ((request: ProxiedRequest) => ProxyFault | null) | null;
  /** Requests that were met by it. */
  told: number;
}

async function onCloud(
  sites: Sites,
  scenario: (lies: Lies, ...site: Parameters<ScenarioBody>) => Promise<void>,
): Promise<void> {
  await using cleanup = new AsyncDisposableStack();
  const account = createTestAccount();
  const server = startGcsServer({ bucket: BUCKET, publicKey: account.publicKey });
  cleanup.defer(() => server.close());
  const lies: Lies = { plan: null, told: 0 };
  const proxy = startFaultProxy(server.endpoint, (request) => {
    const fault = lies.plan?.(request) ?? null;
    if (fault !== null) lies.told += 1;
    return fault;
  });
  cleanup.defer(() => proxy.close());
  server.announce(proxy.origin);
  const directory = await Deno.makeTempDir({ prefix: "p4cache-faults-" });
  cleanup.defer(() => Deno.remove(directory, { recursive: true }));
  const credentials = `${directory}/account.json`;
  await account.writeFile(credentials, `${server.endpoint}/token`);
  const primary = {
    type: "gcs",
    bucket: BUCKET,
    endpoint: proxy.origin,
    "endpoint_pin": true,
    "credentials_file": credentials,
    "stall_secs": STALL_SECS,
  };
  const config = { primary, "retry_base_ms": 20, "retry_max_attempts": 1 };
  await sites.run({ config }, async (rig, workload) => {
    workload.toleratesErrors = true;
    await scenario(lies, rig, workload);
    workload.toleratesErrors = false;
    ok(lies.told > 0, "the store told no lie");
    lies.plan = null;
    // A change in any case, also where the scenario made none.
    const atRest = {
      "max_cache_bytes": 0,
      "low_watermark_bytes": null,
      "retry_base_ms": 25,
    };
    await rig.reload(atRest);
  });
}

function isUpload({ method, target }: ProxiedRequest): boolean {
  return method !== "GET" && target.startsWith("/upload/");
}

function isDownload({ method, target }: ProxiedRequest): boolean {
  return method === "GET" && target.includes("alt=media");
}

function isLook({ method, target }: ProxiedRequest): boolean {
  return method === "GET" && target.includes("/o/") && !target.includes("alt=media");
}

/** Each third request fails, by another status each time. */
export function cloudAnswersErrors(sites: Sites): Promise<void> {
  return onCloud(sites, async (lies, rig, workload) => {
    await rig.reload({ max_cache_bytes: 150_000, low_watermark_bytes: null });
    const statuses = [500, 503, 429, 408, 502];
    lies.plan = ({ index }) =>
      index % 3 === 0
        ? { kind: "answer", status: statuses[index % statuses.length]! }
        : null;
    await workFor(workload, 4_000);
  });
}

/** Requests are done, and their answers lost. */
export function cloudLosesAnswers(sites: Sites): Promise<void> {
  return onCloud(sites, async (lies, _rig, workload) => {
    lies.plan = (request) =>
      isUpload(request) && request.index % 2 === 0 ? { kind: "lose", status: 503 } : null;
    await workFor(workload, 4_000);
  });
}

export function cloudDeniesAll(sites: Sites): Promise<void> {
  return onCloud(sites, async (lies, rig, workload) => {
    lies.plan = () => ({ kind: "answer", status: 403 });
    for (let i = 0; i < 5; i++) await workload.writeNew();
    await until("an upload fails for good", () => rig.metric(FAILED_UPLOADS) > 0);
  });
}

/** Nothing comes any more, in the middle of a body or before it. */
export function cloudStalls(sites: Sites): Promise<void> {
  return onCloud(sites, async (lies, rig, workload) => {
    await evictEverything(rig);
    lies.plan = (request) =>
      isDownload(request) && request.index % 2 === 0
        ? { kind: "stall", afterBytes: request.index % 4 === 0 ? -1 : 10 }
        : null;
    const client = rig.client();
    for (const path of workload.names.slice(0, 4)) await workload.check(client, path);
  });
}

/** A restore of what is not what was stored fails, and the marker stays. */
function damaged(sites: Sites, fault: ProxyFault): Promise<void> {
  return onCloud(sites, async (lies, rig, workload) => {
    await evictEverything(rig);
    lies.plan = (request) => isDownload(request) ? fault : null;
    const client = rig.client();
    for (const path of workload.names.slice(0, 3)) {
      const reply = await client.ask("read", `${rig.depot}/${path}`);
      deepStrictEqual(reply, { errno: "EIO" }, `${path} was not refused`);
      strictEqual((await Deno.lstat(`${rig.depot}/${path}`)).isSocket, true);
    }
  });
}

export function cloudCutsBodies(sites: Sites): Promise<void> {
  return damaged(sites, { kind: "cut", afterBytes: 0 });
}

export function cloudDamagesBodies(sites: Sites): Promise<void> {
  return damaged(sites, { kind: "flip", atByte: 0 });
}

/** "Stored", with everything right in the answer; and then it has no such object. */
export function cloudForgetsUploads(sites: Sites): Promise<void> {
  return onCloud(sites, async (lies, rig, workload) => {
    await evictEverything(rig);
    lies.plan = (request) => {
      if (!isUpload(request)) return null;
      return { kind: "answer", status: 200, ...claimOf(request) };
    };
    for (let i = 0; i < 6; i++) await workload.writeNew();
    await until("the store has claimed them", () => lies.told >= 6);
    lies.plan = null;
    // Not one of them may go; those that the store was believed about are uploaded again.
    await until(
      "everything is evicted, after an upload that was none",
      () => [...rig.names()].every(({ isMarker }) => isMarker),
    );
  });
}

/** What an upload's answer says, about an object that is not there. */
function claimOf(
  { target }: ProxiedRequest,
): { headers: Record<string, string>; body: string } {
  const name = new URL(target, "http://x").searchParams.get("name") ?? "x";
  const claim = { kind: "storage#object", name, size: "1", generation: "1" };
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(claim) };
}

/** Looks at objects say another generation, tag and checksum than the objects have. */
export function cloudLiesAboutTags(sites: Sites): Promise<void> {
  return onCloud(sites, async (lies, rig, workload) => {
    await rig.reload({ max_cache_bytes: 150_000, low_watermark_bytes: null });
    lies.plan = (request) => {
      if (!isLook(request) || request.index % 2 === 0) return null;
      const claim = {
        size: "7",
        generation: "7",
        etag: "lie",
        md5Hash: "bGllIGxpZSBsaWUgbGllIQ==",
      };
      return {
        kind: "answer",
        status: 200,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(claim),
      };
    };
    await workFor(workload, 4_000);
  });
}
