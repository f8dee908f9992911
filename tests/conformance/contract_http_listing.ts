/**
 * The contract of every store that is reached by HTTP: a listing of 100,000 objects.
 *
 * @module
 */

import { ok, strictEqual } from "node:assert/strict";
import v8 from "node:v8";
import vm from "node:vm";
import type { ProxyPlan } from "./fault_proxy.ts";
import { type HttpFixture, type HttpTest, throughProxy } from "./http_site.ts";

const PAGE_KEYS = 1_000;
const PAGES = 100;

export function testHugeListing(test: HttpTest, fixture: HttpFixture): void {
  test("a listing of 100,000 objects is read as it is asked for, in bounded memory", async (site) => {
    const pageOf = (page: number): string => {
      const keys = Array.from(
        { length: PAGE_KEYS },
        (_, i) => `${site.prefix}many/${page * PAGE_KEYS + i}`,
      );
      return fixture.pageOf(keys, page + 1 < PAGES ? String(page + 1) : null);
    };
    let answerCount = 0;
    const plan: ProxyPlan = ({ target }) => {
      answerCount += 1;
      // Any page may fail, and is asked for again.
      if (answerCount % 10 === 0) return { kind: "answer", status: 503 };
      const page = target.match(/[?&](?:continuation-token|marker|pageToken)=(\d+)/)?.[1];
      const headers = { "content-type": contentTypeOf(fixture) };
      return { kind: "answer", status: 200, headers, body: pageOf(Number(page ?? 0)) };
    };
    await throughProxy(site, plan, async (backend) => {
      let heapBytes = 0;
      let count = 0;
      let sum = 0;
      for await (const { key, sizeBytes } of backend.list("many/")) {
        sum += Number(key.slice("many/".length)) + sizeBytes;
        count += 1;
        const pages = Math.ceil(count / PAGE_KEYS);
        const failures = Math.ceil(answerCount / 10);
        ok(answerCount <= pages + failures, `${answerCount} requests for ${pages} pages`);
        if (count === 10_000) heapBytes = heapInUse();
      }
      strictEqual(count, 100_000);
      // Each once, and of 5 bytes.
      strictEqual(sum, 100_000 * 99_999 / 2 + 500_000);
      // Kept, 90,000 descriptions would be more than 20 MB.
      const grownBytes = heapInUse() - heapBytes;
      ok(grownBytes < 8_000_000, `${grownBytes} bytes more than after 10,000 objects`);
    });
  });
}

function contentTypeOf(fixture: HttpFixture): string {
  return fixture.pageOf([], null).startsWith("<")
    ? "application/xml"
    : "application/json";
}

/** After a collection. */
function heapInUse(): number {
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
  return Deno.memoryUsage().heapUsed;
}
