/**
 * The contract of every store that is reached by HTTP: connections that cannot be had or
 * trusted, answers of others than the store, answers that ask to wait.
 *
 * @module
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../../src/storage/retrying_backend.ts";
import { StorageError, type StorageFault } from "../../src/storage/storage_error.ts";
import { testBodies } from "./contract_http_bodies.ts";
import { testHugeListing } from "./contract_http_listing.ts";
import { expectContent, put } from "./contract_tools.ts";
import { FakeClock } from "./fake_clock.ts";
import { type ProxyPlan, startFaultProxy } from "./fault_proxy.ts";
import {
  everyAnswered,
  everyRequest,
  HTTP_KEY,
  type HttpFixture,
  type HttpSite,
  type HttpTest,
  httpTest,
  PARTS_BYTES,
  throughProxy,
} from "./http_site.ts";
import { patternBytes } from "./test_bytes.ts";
import { createTestAuthority, pipeTo, startTlsFront } from "./tls_front.ts";

export function testHttpStore(fixture: HttpFixture): void {
  if (fixture.skip !== null) {
    // deno-lint-ignore no-console -- a skip says why
    console.log(`skipped: ${fixture.name}: ${fixture.skip}`);
  }
  const test = httpTest(fixture);
  testConnections(test);
  testTrust(test);
  testForeignAnswers(test);
  testPatience(test, fixture);
  testBodies(test, fixture);
  testHugeListing(test, fixture);
}

async function allReject(
  backend: StorageBackend,
  fault: StorageFault,
  words: RegExp = /./,
): Promise<void> {
  for (const request of everyRequest(backend)) await rejectsWith(request, [fault], words);
}

async function rejectsWith(
  request: () => Promise<unknown>,
  faults: readonly StorageFault[],
  words: RegExp = /./,
): Promise<void> {
  await rejects(request, (error) => {
    ok(error instanceof StorageError, `a StorageError is wanted, not ${error}`);
    ok(faults.includes(error.fault), `${error.fault}: ${error.message}`);
    ok(words.test(error.message), error.message);
    return true;
  });
}

function testConnections(test: HttpTest): void {
  test("a refused connection is unavailable", async (site) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    const backend = await site.open(`http://127.0.0.1:${port}`);
    await allReject(backend, "unavailable");
    await backend.close();
  });

  test("a host that does not resolve is unavailable", async (site) => {
    const backend = await site.open("http://p4cache.invalid");
    await allReject(backend, "unavailable");
    await backend.close();
  });

  test("a redirect to another host is not followed", async (site) => {
    const elsewhere = startFaultProxy(site.origin, () => null);
    for (const status of [301, 302, 307, 308]) {
      const plan: ProxyPlan = ({ target }) => {
        const headers = { location: elsewhere.origin + target };
        return { kind: "answer", status, headers };
      };
      await throughProxy(site, plan, async (backend) => {
        // 308 means something else to Google's uploads, and must not be believed either.
        for (const request of everyRequest(backend)) {
          await rejectsWith(request, ["invalid", "unavailable"]);
        }
      });
    }
    strictEqual(elsewhere.requests.length, 0);
    await elsewhere.close();
  });
}

function testTrust(test: HttpTest): void {
  test("TLS with an unknown authority is refused, with ca_cert_path it works", async (site) => {
    await behindTls(site, async (port, caCertPath) => {
      const distrustful = await site.open(`https://localhost:${port}`);
      await allReject(distrustful, "unavailable", /ca_cert_path/);
      await distrustful.close();
      const trusting = await site.open(`https://localhost:${port}`, { caCertPath });
      const bytes = patternBytes(PARTS_BYTES, 10);
      await put(trusting, HTTP_KEY, bytes);
      await expectContent(trusting, HTTP_KEY, bytes);
      await trusting.close();
    });
  });

  test("a certificate for another host is refused", async (site) => {
    await behindTls(site, async (port, caCertPath) => {
      const misled = await site.open(`https://127.0.0.1:${port}`, { caCertPath });
      await allReject(misled, "unavailable", /certificate/);
      await misled.close();
    });
  });
}

async function behindTls(
  site: HttpSite,
  body: (port: number, caCertPath: string) => Promise<void>,
): Promise<void> {
  const authority = await createTestAuthority();
  const { hostname, port } = new URL(site.origin);
  const front = startTlsFront(authority, (c) => pipeTo(c, hostname, Number(port)));
  try {
    await body(front.port, authority.caPath);
  } finally {
    await front.close();
    await authority.remove();
  }
}

const PAGE = "<html><head><title>Welcome</title></head><body>Log in</body></html>";

/** Portals, load balancers and proxies answer too, in their own words. */
function testForeignAnswers(test: HttpTest): void {
  const answering = (status: number): ProxyPlan => () => ({
    kind: "answer",
    status,
    headers: { "content-type": "text/html" },
    body: PAGE,
  });

  test("a page of somebody else is never taken for success", async (site) => {
    await throughProxy(site, answering(200), async (backend) => {
      for (const request of everyAnswered(backend)) {
        await rejectsWith(request, ["unavailable", "invalid", "corrupt"]);
      }
    });
  });

  test("a 404 of somebody else is a wrong setting, never an absent object", async (site) => {
    let isMisled = false;
    const misleading = answering(404);
    const plan: ProxyPlan = (request) => isMisled ? misleading(request) : null;
    await throughProxy(site, plan, async (backend) => {
      // What was known of the bucket a moment ago changes nothing.
      strictEqual(await backend.head(HTTP_KEY), null);
      isMisled = true;
      for (const request of everyAnswered(backend)) {
        await rejectsWith(request, ["invalid"]);
      }
    });
  });

  for (
    const [status, fault] of [
      [403, "denied"],
      [407, "denied"],
      [413, "invalid"],
      [500, "unavailable"],
      [502, "unavailable"],
      [504, "unavailable"],
    ] as const
  ) {
    test(`a ${status} of somebody else is ${fault}`, async (site) => {
      await throughProxy(
        site,
        answering(status),
        (backend) => allReject(backend, fault),
      );
    });
  }
}

function testPatience(test: HttpTest, fixture: HttpFixture): void {
  test("a store that asks for patience is throttled, and gets it", async (site) => {
    let busyCount = 0;
    const plan: ProxyPlan = () => {
      busyCount += 1;
      if (busyCount > 4) return null;
      const status = busyCount % 2 === 0 ? 429 : 503;
      return { kind: "answer", status, headers: { "retry-after": "7" } };
    };
    await throughProxy(site, plan, async (backend) => {
      await rejects(() => backend.head(HTTP_KEY), (error) => {
        ok(error instanceof StorageError);
        strictEqual(error.fault, "throttled");
        strictEqual(error.retryAfterMs, 7_000);
        return true;
      });
      const clock = new FakeClock();
      const patient = withRetry(backend, DEFAULT_RETRY_POLICY, clock, () => 0);
      strictEqual(await patient.head(HTTP_KEY), null);
      deepStrictEqual(clock.slept, [7_000, 7_000, 7_000]);
    });
  });

  test("an answer with bytes that is 503 is throttled, and the process lives", async (site) => {
    const plan: ProxyPlan = (request) =>
      fixture.isContent(request) ? { kind: "answer", status: 503, body: "later" } : null;
    await throughProxy(site, plan, async (backend) => {
      const bytes = patternBytes(1_000, 4);
      await put(backend, HTTP_KEY, bytes);
      const download = (): Promise<void> => expectContent(backend, HTTP_KEY, bytes);
      await rejectsWith(download, ["throttled"]);
    });
  });

  test("a part that is refused is sent again, and no other one", async (site) => {
    const refused = new Set<string>();
    const taken: string[] = [];
    const plan: ProxyPlan = (request) => {
      if (!fixture.isPart(request)) return null;
      const part = `${request.target} ${request.headers.get("content-range")}`;
      if (refused.has(part)) {
        taken.push(part);
        return null;
      }
      refused.add(part);
      return { kind: "answer", status: 503, headers: { "retry-after": "0" } };
    };
    await throughProxy(site, plan, async (backend) => {
      const bytes = patternBytes(PARTS_BYTES, 9);
      await put(backend, HTTP_KEY, bytes);
      strictEqual(taken.length, 4, "parts that were sent to the server");
      deepStrictEqual(new Set(taken), refused);
      await expectContent(backend, HTTP_KEY, bytes);
    });
  });

  test("a part that is always refused ends the upload, also for who retries it", async (site) => {
    let partCount = 0;
    const plan: ProxyPlan = (request) => {
      if (!fixture.isPart(request)) return null;
      partCount += 1;
      return { kind: "answer", status: 503 };
    };
    await throughProxy(site, plan, async (backend) => {
      const clock = new FakeClock();
      const patient = withRetry(backend, DEFAULT_RETRY_POLICY, clock, () => 0);
      const bytes = patternBytes(PARTS_BYTES, 10);
      await rejectsWith(() => put(patient, HTTP_KEY, bytes), ["throttled"]);
      deepStrictEqual(clock.slept, [], "the whole upload was not begun again");
      // Four in flight at most, and four attempts each.
      ok(partCount >= 4 && partCount <= 16, `${partCount} requests`);
      strictEqual(await backend.head(HTTP_KEY), null);
    });
  });

  for (const size of [1_000, PARTS_BYTES]) {
    test(`an upload of ${size} bytes whose answer got lost is found to have succeeded`, async (site) => {
      let isLost = false;
      const plan: ProxyPlan = (request) => {
        if (isLost || !fixture.isCommit(request)) return null;
        isLost = true;
        return { kind: "lose", status: 500 };
      };
      await throughProxy(site, plan, async (backend) => {
        const bytes = patternBytes(size, 8);
        const patient = withRetry(
          backend,
          DEFAULT_RETRY_POLICY,
          new FakeClock(),
          () => 0,
        );
        await put(patient, HTTP_KEY, bytes);
        ok(isLost, "an answer was lost");
        await expectContent(patient, HTTP_KEY, bytes);
      });
    });
  }
}
