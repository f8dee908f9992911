import { ok, strictEqual } from "node:assert/strict";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import { StorageError } from "../storage/storage_error.ts";
import { observe, REPORTED } from "./observe.ts";
import { upload } from "./upload.ts";
import { UploadCoordinator } from "./upload_coordinator.ts";

Deno.test("a retry that is due and waits behind another operation does not keep the coordinator busy", async () => {
  await using fixture = await openEngineFixture({ settings: { slowRetrySecs: 0 } });
  const { context, primary } = fixture;
  primary.upload = () =>
    Promise.reject(
      new StorageError("unavailable", {
        operation: "upload",
        key: "a,v",
        detail: "down",
      }),
    );
  await fixture.write("a,v", "content");
  await observe(context, fixture.path("a,v"), REPORTED);
  strictEqual(await upload(context, fixture.path("a,v")), "failed");
  const stop = new AbortController();
  const restored = Promise.withResolvers<void>();
  const held = context.locks.run(fixture.path("a,v"), () => restored.promise);
  const delays: number[] = [];
  const clock: Clock = {
    ...SYSTEM_CLOCK,
    sleep(delayMs, signal): Promise<void> {
      delays.push(delayMs);
      const { promise, reject } = Promise.withResolvers<void>();
      signal?.addEventListener("abort", () => reject(signal.reason));
      return promise;
    },
  };
  const coordinator = new UploadCoordinator(
    { ...context, clock, signal: stop.signal },
    () => {},
  );
  const run = coordinator.run();
  strictEqual(delays.length, 1);
  ok(delays[0]! > 0, `it looks again in ${delays[0]} ms`);
  stop.abort();
  restored.resolve();
  await Promise.all([run, held]);
});
