import { deepStrictEqual, match, rejects } from "node:assert/strict";
import { type Gate, GateError, type GateMessage } from "../gate/gate.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { createMetrics, type Metrics } from "../obs/metrics.ts";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { GateService, type GateServiceDeps } from "./gate_service.ts";
import { EXIT } from "./start_error.ts";

/** A gate that says nothing, or what it is given, and what it was told. */
class SilentGate implements Gate {
  readonly #said: readonly GateMessage[];
  readonly allowed: (readonly number[])[] = [];
  isClosed = false;
  readonly #ended = Promise.withResolvers<void>();

  constructor(said: readonly GateMessage[] = []) {
    this.#said = said;
  }

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

  async *[Symbol.asyncIterator](): AsyncGenerator<GateMessage> {
    yield* this.#said;
    await this.#ended.promise;
  }
}

interface Talk {
  readonly service: GateService;
  readonly clock: ManualClock;
  readonly stop: AbortController;
  readonly metrics: Metrics;
  /** What the next gates are, in their order. */
  readonly opening: PromiseWithResolvers<Gate>[];
}

function serviceOf(): Talk {
  const clock = new ManualClock();
  const stop = new AbortController();
  const metrics = createMetrics();
  const opening: PromiseWithResolvers<Gate>[] = [];
  const deps: Partial<GateServiceDeps> = {
    open: () => {
      opening.push(Promise.withResolvers());
      return opening.at(-1)!.promise;
    },
    control: { allGone: () => {} } as GateServiceDeps["control"],
    clock,
    log: createMemoryLogger(),
    metrics,
    signal: stop.signal,
  };
  const service = new GateService(deps as GateServiceDeps);
  return { service, clock, stop, metrics, opening };
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

Deno.test("opens that the shim could not tell of are counted", async () => {
  const { service, stop, metrics, opening } = serviceOf();
  const lines = ["37", "4"].map((n) => `{"ts":1,"op":"dropped","n":${n},"id":"9f-${n}"}`);
  const opened = service.open();
  opening[0]!.resolve(
    new SilentGate([{
      t: "access",
      uid: 0,
      pid: 1,
      data: `${lines.join("\n")}\n`,
    }]),
  );
  await opened;
  const running = service.run();
  stop.abort();
  await running;
  match(await metrics.render(), /^p4cache_access_log_dgram_dropped_total 41$/m);
});

Deno.test("a gate that cannot begin is tried again, unless somebody has to do something first", async () => {
  const cases = [
    [new GateError("refused", "it is no socket", { code: "EEXIST" }), EXIT.configuration],
    [new GateError("garbled", "another version"), EXIT.configuration],
    [new GateError("refused", "no", { code: "EACCES" }), EXIT.denied],
    [new GateError("refused", "no space", { code: "ENOSPC" }), EXIT.temporary],
    [new GateError("died", "SIGKILL"), EXIT.temporary],
  ] as const;
  for (const [error, status] of cases) {
    const { service, opening } = serviceOf();
    const opened = service.open();
    opening[0]!.reject(error);
    const message = `Cannot serve the depot: ${error.message}`;
    await rejects(opened, { name: "StartError", status, message });
  }
});

Deno.test("a gate that was opened before a stop is closed, also if it is served after that", async () => {
  const { service, stop, opening } = serviceOf();
  const gate = new SilentGate();
  const opened = service.open();
  opening[0]!.resolve(gate);
  await opened;
  stop.abort();
  await service.run();
  deepStrictEqual(gate.isClosed, true);
});
