import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import type { Clock } from "../../core/clock.ts";
import { MountCalls, StallError } from "./mount_calls.ts";

/** A clock whose sleeps end when the test says so. */
class HandClock implements Clock {
  readonly #sleepers = new Set<() => void>();
  nowMs = (): number => 0;
  monotonicMs = (): number => 0;

  sleep(_delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = (): void => resolve();
      this.#sleepers.add(wake);
      signal?.addEventListener("abort", () => {
        this.#sleepers.delete(wake);
        reject(signal.reason);
      }, { once: true });
    });
  }

  ring(): void {
    for (const wake of this.#sleepers) wake();
    this.#sleepers.clear();
  }
}

function callsOf(callsMax: number): { calls: MountCalls; clock: HandClock } {
  const clock = new HandClock();
  return { calls: new MountCalls({ callsMax, stallMs: 1_000, clock }), clock };
}

Deno.test("run() gives what the call gives, and what it throws", async () => {
  const { calls } = callsOf(2);
  strictEqual(await calls.run(() => Promise.resolve(7)), 7);
  const trouble = new Error("ENOENT");
  await rejects(() => calls.run(() => Promise.reject(trouble)), (e) => e === trouble);
  strictEqual(calls.inKernel, 0);
});

Deno.test("run() gives up a call that hangs, which keeps its place", async () => {
  const { calls, clock } = callsOf(1);
  const hanging = Promise.withResolvers<string>();
  const late = Promise.withResolvers<string>();
  const call = calls.run(() => hanging.promise, undefined, late.resolve);
  clock.ring();
  await rejects(() => call, StallError);
  strictEqual(calls.inKernel, 1);

  let isMade = false;
  const next = calls.run(() => Promise.resolve(isMade = true));
  clock.ring();
  await rejects(() => next, StallError);
  ok(!isMade, "no call was made without a place");

  hanging.resolve("opened");
  strictEqual(await late.promise, "opened");
  strictEqual(await calls.run(() => Promise.resolve(1)), 1);
});

Deno.test("run() lets no more calls into the kernel than allowed, in order", async () => {
  const { calls } = callsOf(2);
  const gates = [0, 1, 2, 3].map(() => Promise.withResolvers<void>());
  const begun: number[] = [];
  const all = gates.map((gate, i) =>
    calls.run(() => {
      begun.push(i);
      return gate.promise;
    })
  );
  deepStrictEqual(begun, [0, 1]);
  gates[1]!.resolve();
  await all[1];
  deepStrictEqual(begun, [0, 1, 2]);
  gates.forEach((gate) => gate.resolve());
  await Promise.all(all);
  deepStrictEqual(begun, [0, 1, 2, 3]);
  strictEqual(calls.inKernel, 0);
});

Deno.test("run() ends with the signal's reason, waiting or called", async () => {
  const { calls } = callsOf(1);
  const hanging = Promise.withResolvers<void>();
  const abort = new AbortController();
  const called = calls.run(() => hanging.promise, abort.signal);
  const waiting = calls.run(() => Promise.resolve(), abort.signal);
  const reason = new Error("stop");
  abort.abort(reason);
  await rejects(() => called, (error) => error === reason);
  await rejects(() => waiting, (error) => error === reason);
  hanging.resolve();
  await calls.run(() => Promise.resolve());
  strictEqual(calls.inKernel, 0);
});

Deno.test("run() gives a place that is being handed on to nobody else", async () => {
  for (let turns = 0; turns < 10; turns++) { // after the first call's end, a newcomer
    const { calls } = callsOf(1);
    const first = Promise.withResolvers<void>();
    let running = 0;
    let runningMax = 0;
    const call = async (): Promise<void> => {
      runningMax = Math.max(runningMax, ++running);
      for (let i = 0; i < 10; i++) await null;
      running -= 1;
    };
    const come = async (): Promise<void> => {
      await first.promise;
      for (let i = 0; i < turns; i++) await null;
      await calls.run(call);
    };
    const all = [calls.run(() => first.promise), calls.run(call), come()];
    first.resolve();
    await Promise.all(all);
    strictEqual(runningMax, 1, `after ${turns} turns`);
    strictEqual(calls.inKernel, 0);
  }
});
