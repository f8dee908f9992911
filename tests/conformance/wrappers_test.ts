/**
 * The contract, asked through every wrapper over a store that fails at random. The seed of the faults is printed; P4CACHE_TEST_SEED repeats one.
 */

import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import { withConcurrency } from "../../src/storage/limiting_backend.ts";
import { withMetering } from "../../src/storage/metered_backend.ts";
import { DEFAULT_RETRY_POLICY, withRetry } from "../../src/storage/retrying_backend.ts";
import { withBandwidth } from "../../src/storage/throttling_backend.ts";
import type { StorageBackend } from "../../src/storage/backend.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";
import { FakeClock } from "./fake_clock.ts";
import { type FailurePlan, type PlannedFailure, withFaults } from "./faulty_backend.ts";

const seed = Number(Deno.env.get("P4CACHE_TEST_SEED") ?? Date.now() % 1_000_000);
// deno-lint-ignore no-console -- a failing run must be repeatable
console.log(`wrappers: P4CACHE_TEST_SEED=${seed}`);

function randomFrom(start: number): () => number {
  let state = start;
  return (): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

/**
 * Two of three requests fail, among the first 12 of each kind; retries are plenty, so that
 * the last attempt always reaches the store.
 */
function stormyPlan(random: () => number): FailurePlan {
  const whens = ["before", "middle", "after"] as const;
  const faults = ["unavailable", "throttled"] as const;
  return (operation, callIndex): PlannedFailure | null => {
    if (operation === "list" || callIndex >= 12 || random() > 2 / 3) return null;
    return {
      when: whens[Math.floor(random() * 3)]!,
      fault: faults[Math.floor(random() * 2)]!,
      ...(random() < 0.5 ? { retryAfterMs: 1_000 } : {}),
    };
  };
}

/** `inner` that fails at random, with a retry that hides it from whatever is around it. */
function stormy(inner: StorageBackend, offset: number): StorageBackend {
  const random = randomFrom(seed + offset);
  const policy = { ...DEFAULT_RETRY_POLICY, attemptsMax: 60 };
  const faulty = withFaults(inner, stormyPlan(random));
  return withRetry(faulty, policy, new FakeClock(), random);
}

const WRAPPERS: Readonly<Record<string, (inner: StorageBackend) => StorageBackend>> = {
  "retry": (inner) => stormy(inner, 0),
  "concurrency 1": (inner) => withConcurrency(stormy(inner, 1), 1),
  "concurrency 3": (inner) => withConcurrency(stormy(inner, 2), 3),
  "bandwidth": (inner) => {
    const limits = {
      uploadBytesPerSecond: 1_000_000,
      downloadBytesPerSecond: 3_000_000,
    };
    return withBandwidth(stormy(inner, 3), () => limits, new FakeClock());
  },
  "metering": (inner) =>
    withMetering(stormy(inner, 4), { onRequest: () => {} }, new FakeClock()),
  "all of them": (inner) => {
    const clock = new FakeClock();
    const random = randomFrom(seed + 5);
    const policy = { ...DEFAULT_RETRY_POLICY, attemptsMax: 60 };
    const observer = { onRequest: (): void => {} };
    const unlimited = { uploadBytesPerSecond: null, downloadBytesPerSecond: null };
    const attempts = withMetering(
      withFaults(inner, stormyPlan(random)),
      observer,
      clock,
    );
    const retried = withRetry(attempts, policy, clock, random);
    return withConcurrency(withBandwidth(retried, () => unlimited, clock), 4);
  },
};

for (const [name, wrap] of Object.entries(WRAPPERS)) {
  testBackend({
    name: `mem with faults through ${name}`,
    open(): Promise<OpenStore> {
      const backend = wrap(openMemBackend());
      return Promise.resolve({ backend, close: () => backend.close() });
    },
  });
}
