import { strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { ManifestError } from "../manifest/manifest.ts";
import { AccessTimes } from "./access_times.ts";
import { observe, REPORTED } from "./observe.ts";

const DROPPED = /^p4cache_access_log_dgram_dropped_total (\d+)$/m;
const OPENED_MS = Date.parse("2033-01-01T00:00:00Z");

async function withFiles(
  count: number,
  run: (fixture: EngineFixture) => Promise<void>,
): Promise<void> {
  await using fixture = await openEngineFixture();
  for (let i = 0; i < count; i++) {
    await fixture.write(`${i},v`, "content");
    await observe(fixture.context, fixture.path(`${i},v`), REPORTED);
  }
  await run(fixture);
}

function timesOf(fixture: EngineFixture, keptMax?: number): AccessTimes {
  const clock = new ManualClock("2034-01-01T00:00:00Z");
  return new AccessTimes({ ...fixture.context, clock }, keptMax);
}

function lastAccessMs(fixture: EngineFixture, name: string): number {
  return fixture.manifest.get(fixture.path(name))!.lastAccessS * 1000;
}

async function dropped({ context }: EngineFixture): Promise<number> {
  return Number(DROPPED.exec(await context.metrics.render())![1]);
}

Deno.test("names that no row has take no room from those that have one", () =>
  withFiles(2, async (fixture) => {
    const times = timesOf(fixture, 2);
    for (let i = 0; i < 100; i++) times.note(`invented/${i},v`, OPENED_MS);
    for (const name of ["0,v", "1,v", "0,v"]) times.note(name, OPENED_MS);
    strictEqual(await dropped(fixture), 0);
    await times.write();
    for (const name of ["0,v", "1,v"]) {
      strictEqual(lastAccessMs(fixture, name), OPENED_MS);
    }
  }));

Deno.test("of more files than are kept until they are written the rest is dropped and counted", () =>
  withFiles(3, async (fixture) => {
    const times = timesOf(fixture, 2);
    for (const name of ["0,v", "1,v", "2,v"]) times.note(name, OPENED_MS);
    // One that is kept stays as new as it is.
    times.note("1,v", OPENED_MS + 5_000);
    strictEqual(await dropped(fixture), 1);
    await times.write();
    strictEqual(lastAccessMs(fixture, "1,v"), OPENED_MS + 5_000);
    strictEqual(lastAccessMs(fixture, "2,v") < OPENED_MS, true);
    times.note("2,v", OPENED_MS);
    await times.write();
    strictEqual(lastAccessMs(fixture, "2,v"), OPENED_MS);
  }));

Deno.test("a row that cannot be read is no reason to fail whoever tells of an open", () =>
  withFiles(1, async (fixture) => {
    const get = fixture.manifest.get.bind(fixture.manifest);
    const times = timesOf(fixture);
    fixture.manifest.get = (): never => {
      throw new ManifestError("damaged", "a row is damaged");
    };
    times.note("0,v", OPENED_MS);
    fixture.manifest.get = get;
    await times.write();
    strictEqual(lastAccessMs(fixture, "0,v") < OPENED_MS, true);
  }));
