import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import type { ScanReport } from "../engine/scan.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { Rescans } from "./rescans.ts";

const WHOLE: ScanReport = {
  filesSeen: 1,
  actions: {},
  unmanageable: 0,
  unreadable: 0,
  unproven: 0,
  failing: 0,
  stopped: null,
};

Deno.test("a scan is due from when it is asked for until one has looked at everything", async () => {
  const clock = new ManualClock();
  const end = new AbortController();
  const reports: ScanReport[] = [];
  let scanning = Promise.withResolvers<ScanReport>();
  const rescans = new Rescans({
    engine: {
      scan: () => {
        scanning = Promise.withResolvers();
        return scanning.promise;
      },
    },
    record: {
      finished: (report) => {
        reports.push(report);
        return Promise.resolve(report.failing === 0 && report.stopped === null);
      },
    },
    clock,
    log: createMemoryLogger(),
    rescanCooldownSecs: () => 1,
    signal: end.signal,
  });
  const running = rescans.run();
  const endWith = async (change: Partial<ScanReport>): Promise<boolean> => {
    await clock.advance(3_600_000);
    strictEqual(rescans.isDue, true);
    scanning.resolve({ ...WHOLE, ...change });
    await clock.advance(0);
    return rescans.isDue;
  };
  strictEqual(rescans.isDue, false);
  rescans.request();
  strictEqual(await endWith({ failing: 1 }), true);
  // Again by itself; a stop is for the operator.
  strictEqual(await endWith({ stopped: "another disk" }), true);
  rescans.request();
  strictEqual(await endWith({}), false);
  rescans.request(false);
  strictEqual(rescans.isDue, false, "nothing may have been missed");
  await clock.advance(3_600_000);
  strictEqual(rescans.isDue, false);
  rescans.request();
  strictEqual(rescans.isDue, true);
  scanning.resolve(WHOLE);
  await clock.advance(0);
  strictEqual(rescans.isDue, true, "a scan that began before says nothing of it");
  strictEqual(await endWith({}), false);
  deepStrictEqual(reports.length, 5);
  end.abort();
  await running;
});
