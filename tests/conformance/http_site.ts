/**
 * What the tests of connections and answers need of a store that is reached by HTTP.
 *
 * @module
 */

import type { Clock } from "../../src/core/clock.ts";
import { objectKeyOf } from "../../src/core/names.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { MIB, put } from "./contract_tools.ts";
import {
  type FaultProxy,
  type ProxiedRequest,
  type ProxyPlan,
  startFaultProxy,
} from "./fault_proxy.ts";
import { MemoryTarget, patternBytes } from "./test_bytes.ts";

export const HTTP_KEY = objectKeyOf("a/b,v");

/** More than a part, and more than a range. */
export const PARTS_BYTES = 17 * MIB + 3;

/** Options that all cloud stores have. */
export interface HttpOptions {
  readonly caCertPath?: string;
  readonly stallSecs?: number;
  /** Default 0: no ranges. */
  readonly restoreChunkThresholdMb?: number;
  readonly restoreChunkThreads?: number;
  readonly clock?: Clock;
}

/** A server for one test, with a prefix of its own. */
export interface HttpSite {
  /** `http://host:port` of the server itself. */
  readonly origin: string;
  /** The store's prefix, with a slash at the end. */
  readonly prefix: string;
  /** A store that reaches the server by way of another origin. Its parts have 5 MiB. */
  open(origin: string, options?: HttpOptions): Promise<StorageBackend>;
  /** Empties the prefix. */
  close(): Promise<void>;
}

export interface HttpFixture {
  readonly name: string;
  readonly skip: string | null;
  start(): Promise<HttpSite>;
  /** Answers without Content-Length are refused. */
  readonly needsLength: boolean;
  /** Whether the answer to it are an object's bytes. */
  isContent(request: ProxiedRequest): boolean;
  /** Whether it makes an uploaded object visible. */
  isCommit(request: ProxiedRequest): boolean;
  /** Whether it sends a part of an upload in parts. */
  isPart(request: ProxiedRequest): boolean;
  /** The answer to the request for a page of a listing. */
  pageOf(keys: readonly string[], nextPage: string | null): string;
}

export type HttpTest = (
  sentence: string,
  body: (site: HttpSite) => Promise<void>,
) => void;

export function httpTest(fixture: HttpFixture): HttpTest {
  return (sentence, body) =>
    Deno.test({
      name: `${fixture.name}: ${sentence}`,
      ignore: fixture.skip !== null,
      // Both ends are in this process: one may see the other's end a moment later.
      sanitizeResources: false,
      sanitizeOps: false,
      async fn(): Promise<void> {
        const site = await fixture.start();
        try {
          await body(site);
        } finally {
          await site.close();
        }
      },
    });
}

/** Runs `body` with a store that reaches the server through a proxy with `plan`. */
export async function throughProxy(
  site: HttpSite,
  plan: ProxyPlan,
  body: (backend: StorageBackend, proxy: FaultProxy) => Promise<void>,
  options: HttpOptions = {},
): Promise<void> {
  const proxy = startFaultProxy(site.origin, plan);
  const backend = await site.open(proxy.origin, options);
  try {
    await body(backend, proxy);
  } finally {
    await backend.close();
    await proxy.close();
  }
}

/** One of each, with uploads of one part and of several. */
export function everyRequest(backend: StorageBackend): (() => Promise<unknown>)[] {
  return [...everyAnswered(backend), () => backend.delete({ key: HTTP_KEY })];
}

/** Those whose answer tells something. */
export function everyAnswered(backend: StorageBackend): (() => Promise<unknown>)[] {
  const target = new MemoryTarget();
  return [
    () => put(backend, HTTP_KEY, patternBytes(10, 1)),
    () => put(backend, HTTP_KEY, patternBytes(6 * MIB, 1)),
    () => backend.download({ key: HTTP_KEY, target, sizeBytes: 10 }),
    () => backend.head(HTTP_KEY),
    () => Array.fromAsync(backend.list("")),
  ];
}
