import { deepStrictEqual } from "node:assert/strict";
import type { Gate, GateMessage } from "../gate/gate.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { createMetrics } from "../obs/metrics.ts";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { GateService, type GateServiceDeps } from "./gate_service.ts";

/** A gate that says nothing, and what it was told. */
class SilentGate implements Gate {
  readonly allowed: (readonly number[])[] = [];
  isClosed = false;
  readonly #ended = Promise.withResolvers<void>();

  reply(): void {}
  wait(): void {}

  allow(uids: readonly number[]): void {
    this.allowed.push(uids);
  }

  /** As when its process is killed. */
  die(): void {
    this.#ended.reject(new Error("killed"));
  }

  close(): Promise<void> {
    this.isClosed = true;
    this.#ended.resolve();
    return Promise.resolve();
  }

  // deno-lint-ignore require-yield -- it says nothing
  async *[Symbol.asyncIterator](): AsyncGenerator<GateMessage> {
    await this.#ended.promise;
  }
}

interface Talk {
  readonly service: GateService;
  readonly clock: ManualClock;
  readonly stop: AbortController;
  /** What the next gates are, in their order. */
  readonly opening: PromiseWithResolvers<Gate>[];
}

function serviceOf(): Talk {
  const clock = new ManualClock();
  const stop = new AbortController();
  const opening: PromiseWithResolvers<Gate>[] = [];
  const deps: Partial<GateServiceDeps> = {
    open: () => {
      opening.push(Promise.withResolvers());
      return opening.at(-1)!.promise;
    },
    control: { allGone: () => {} } as GateServiceDeps["control"],
    clock,
    log: createMemoryLogger(),
    metrics: createMetrics(),
    signal: stop.signal,
  };
  return { service: new GateService(deps as GateServiceDeps), clock, stop, opening };
}

Deno.test("who is taken off the list while a gate starts is denied by that gate, too", async () => {
  const { service, clock, stop, opening } = serviceOf();
  const [first, second] = [new SilentGate(), new SilentGate()];
  const opened = service.open();
  opening[0]!.resolve(first);
  await opened;
  const running = service.run();
  first.die();
  await clock.advance(10_000);
  deepStrictEqual(opening.length, 2);
  service.allow([0]);
  opening[1]!.resolve(second);
  await clock.advance(0);
  deepStrictEqual(second.allowed, [[0]]);
  service.allow([0, 7]);
  deepStrictEqual(second.allowed, [[0], [0, 7]]);
  stop.abort();
  await running;
});

Deno.test("a gate that is there only when the daemon has begun to stop is ended", async () => {
  const { service, clock, stop, opening } = serviceOf();
  const [first, second] = [new SilentGate(), new SilentGate()];
  const opened = service.open();
  opening[0]!.resolve(first);
  await opened;
  const running = service.run();
  first.die();
  await clock.advance(10_000);
  stop.abort();
  opening[1]!.resolve(second);
  await running;
  deepStrictEqual(second.isClosed, true);
});
