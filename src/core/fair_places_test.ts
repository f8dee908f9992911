import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { Clock } from "./clock.ts";
import { type Client, FairPlaces } from "./fair_places.ts";

/** Time passes when it is told to. */
class HandClock implements Clock {
  #nowMs = 1_000;
  readonly #sleepers: { readonly untilMs: number; readonly wake: () => void }[] = [];
  nowMs = (): number => this.#nowMs;
  monotonicMs = (): number => this.#nowMs;

  sleep(delayMs: number): Promise<void> {
    return new Promise((wake) => {
      this.#sleepers.push({ untilMs: this.#nowMs + delayMs, wake });
    });
  }

  async pass(durationMs: number): Promise<void> {
    this.#nowMs += durationMs;
    for (const { untilMs, wake } of this.#sleepers) {
      if (untilMs <= this.#nowMs) wake();
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** Runs work that ends when it is told; says who began, in order. */
class Stage {
  readonly began: string[] = [];
  readonly #ends = new Map<string, () => void>();
  readonly #places: FairPlaces;

  constructor(places: FairPlaces) {
    this.#places = places;
  }

  ask(name: string, client: Client): void {
    void this.#places.run(client, async () => {
      this.began.push(name);
      await new Promise<void>((end) => this.#ends.set(name, end));
    });
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)!();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

const VERIFY = { uid: 100, pid: 1 };

Deno.test("FairPlaces lets another user in at once, whatever one user asks for", async () => {
  const places = new FairPlaces(4, new HandClock());
  const stage = new Stage(places);
  for (let i = 0; i < 50; i++) stage.ask(`v${i}`, { uid: 100, pid: i });
  stage.ask("other", { uid: 200, pid: 1 });
  await Promise.resolve();
  deepStrictEqual(stage.began, ["v0", "v1", "v2", "other"]);
  strictEqual(places.waitingCount, 47);
});

Deno.test("FairPlaces leaves a user a quarter while another one asks now and then", async () => {
  const stage = new Stage(new FairPlaces(8, new HandClock()));
  for (let i = 0; i < 50; i++) stage.ask(`v${i}`, VERIFY);
  stage.ask("other", { uid: 200, pid: 1 });
  await Promise.resolve();
  strictEqual(stage.began.length, 7);
  await stage.end("other");
  // Those that are under way end, and two take their places from then on.
  for (const name of ["v0", "v1", "v2", "v3", "v4"]) await stage.end(name);
  strictEqual(stage.began.length, 8);
  stage.ask("other again", { uid: 200, pid: 1 });
  await Promise.resolve();
  strictEqual(stage.began.at(-1), "other again");
});

Deno.test("FairPlaces begins little of who asks for much beside new work of another", async () => {
  const clock = new HandClock();
  const stage = new Stage(new FairPlaces(8, clock));
  stage.ask("other", { uid: 200, pid: 1 });
  for (let i = 0; i < 50; i++) stage.ask(`v${i}`, VERIFY);
  await clock.pass(9);
  deepStrictEqual(stage.began, ["other", "v0"]);
  // What takes longer is waited for by nobody else, also when nothing else happens.
  await clock.pass(1);
  deepStrictEqual(stage.began, ["other", "v0", "v1"]);
});

Deno.test("FairPlaces gives two users who ask for everything a quarter each", async () => {
  const stage = new Stage(new FairPlaces(8, new HandClock()));
  for (let i = 0; i < 50; i++) stage.ask(`v${i}`, VERIFY);
  stage.ask("s0", { uid: 200, pid: 1 });
  await Promise.resolve();
  for (const name of ["v0", "v1", "v2", "v3", "v4"]) await stage.end(name);
  deepStrictEqual(stage.began, ["v0", "v1", "v2", "v3", "v4", "v5", "s0"]);
  for (let i = 1; i < 50; i++) stage.ask(`s${i}`, { uid: 200, pid: i });
  await Promise.resolve();
  deepStrictEqual(stage.began.slice(7), ["v6", "s1"]);
});

Deno.test("FairPlaces gives the next place to the process that was served longest ago", async () => {
  const stage = new Stage(new FairPlaces(1, new HandClock()));
  for (let i = 0; i < 5; i++) stage.ask(`v${i}`, VERIFY);
  stage.ask("sync", { uid: 100, pid: 2 });
  await Promise.resolve();
  await stage.end("v0");
  await stage.end("sync");
  // A process that asks for one after another waits its turn like one that asks for all.
  stage.ask("sync again", { uid: 100, pid: 2 });
  await stage.end("v1");
  await stage.end("sync again");
  deepStrictEqual(stage.began, ["v0", "sync", "v1", "sync again", "v2"]);
});

Deno.test("FairPlaces serves the requests of one process in their order, and frees a place after a failure", async () => {
  const places = new FairPlaces(1, new HandClock());
  const order: number[] = [];
  const all = [1, 2, 3].map((i) =>
    places.run(VERIFY, () => {
      order.push(i);
      return i === 1 ? Promise.reject(new Error("failed")) : Promise.resolve();
    })
  );
  await Promise.allSettled(all);
  deepStrictEqual(order, [1, 2, 3]);
  strictEqual(places.waitingCount, 0);
});
