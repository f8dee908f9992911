import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { RestoreError } from "../engine/restore_error.ts";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import { Engine } from "../engine/engine.ts";
import type { EngineSettings } from "../engine/engine_context.ts";
import { evict } from "../engine/evict.ts";
import { observe, REPORTED } from "../engine/observe.ts";
import { upload } from "../engine/upload.ts";
import type { Gate, GateRequest } from "../gate/gate.ts";
import { answer, Waits } from "./shim_server.ts";

const REQUEST: GateRequest = {
  t: "req",
  id: 7,
  op: "FETCH",
  path: "a,v",
  uid: 0,
  gid: 0,
  pid: 1,
};

for (const isStopping of [false, true]) {
  Deno.test(`a restore that fails is ${isStopping ? "left to the next daemon while this one stops" : "answered"}`, async () => {
    await using fixture = await openEngineFixture();
    const { settings, log, metrics } = fixture.context;
    const stop = new AbortController();
    const replies: string[] = [];
    const gate = { reply: (_id, line) => void replies.push(line) } as Pick<Gate, "reply">;
    const engine: Pick<Engine, "restore"> = {
      restore: () => {
        if (isStopping) stop.abort();
        return Promise.reject(new RestoreError("UNAVAILABLE", "no answer"));
      },
    };
    await answer(
      {
        engine: engine as Engine,
        settings,
        clock: SYSTEM_CLOCK,
        log,
        metrics,
        signal: stop.signal,
      },
      new Waits(gate as Gate),
      REQUEST,
    );
    deepStrictEqual(replies, isStopping ? [] : ["ERR UNAVAILABLE no answer"]);
  });
}

Deno.test("what was evicted while its name was managed is restored when p4d asks for it", async () => {
  await using fixture = await openEngineFixture({ settings: { manage: "all" } });
  const { context } = fixture;
  const path = fixture.path("notes.txt");
  await fixture.write(path, "hello");
  await observe(context, path, REPORTED);
  await upload(context, path);
  strictEqual(await evict(context, path), "evicted");
  const settings = (): EngineSettings => ({ ...context.settings(), manage: "archives" });
  const engine = new Engine({ ...context, settings });
  const { clock, log, metrics, signal } = context;
  const replies: string[] = [];
  const gate = { reply: (_id, line) => void replies.push(line) } as Pick<Gate, "reply">;
  for (const asked of [path, "other.txt"]) {
    await answer(
      { engine, settings, clock, log, metrics, signal },
      new Waits(gate as Gate),
      { ...REQUEST, path: asked },
    );
  }
  deepStrictEqual(replies, ["OK 5", "ERR NOTFOUND not a managed name"]);
  strictEqual(await fixture.read("notes.txt"), "hello");
});

Deno.test("a FETCH whose peer has left is told of no progress, and gets its last line", async () => {
  await using fixture = await openEngineFixture();
  const { settings, log, metrics } = fixture.context;
  const clock = new ManualClock();
  const told: string[] = [];
  const gate: Pick<Gate, "reply" | "wait"> = {
    reply: (_id, line) => void told.push(line),
    wait: (_id, line) => void told.push(line),
  };
  const restored = Promise.withResolvers<Awaited<ReturnType<Engine["restore"]>>>();
  const engine: Pick<Engine, "restore"> = { restore: () => restored.promise };
  const { signal } = new AbortController();
  const waits = new Waits(gate as Gate);
  const answering = answer(
    { engine: engine as Engine, settings, clock, log, metrics, signal },
    waits,
    REQUEST,
  );
  await clock.advance(2_000);
  deepStrictEqual(told, ["WAIT 0 0"]);
  waits.end(REQUEST.id);
  await clock.advance(10_000);
  deepStrictEqual(told, ["WAIT 0 0"]);
  restored.reject(new RestoreError("UNAVAILABLE", "no answer"));
  await answering;
  deepStrictEqual(told, ["WAIT 0 0", "ERR UNAVAILABLE no answer"]);
});
