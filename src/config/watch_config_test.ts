// deno-lint-ignore-file no-sync-fn-in-async-fn -- small files of a test's own directory
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { loadConfig } from "./load_config.ts";
import type { ReloadPlan } from "./reload_plan.ts";
import { type ConfigWatch, watchConfig } from "./watch_config.ts";

const POLL_MS = 30_000;

interface Fixture {
  readonly path: string;
  readonly clock: ManualClock;
  readonly watch: ConfigWatch;
  readonly plans: ReloadPlan[];
  readonly warnings: string[];
  /** Replaces the file as editors do. */
  write(text: string): void;
}

function textWith(keys: Readonly<Record<string, unknown>> = {}): string {
  const primary = { "type": "nfs", "path": "/store" };
  return JSON.stringify({ "depot_path": "/depot", primary, ...keys });
}

async function watching(test: (fixture: Fixture) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/config.json`;
  const write = (text: string): void => {
    Deno.writeTextFileSync(`${path}.new`, text);
    Deno.renameSync(`${path}.new`, path);
  };
  write(textWith());
  const clock = new ManualClock();
  const end = new AbortController();
  const plans: ReloadPlan[] = [];
  const warnings: string[] = [];
  const watch = watchConfig({
    path,
    running: loadConfig(path),
    clock,
    signal: end.signal,
    onReload: (plan) => plans.push(plan),
    onWarning: (message) => warnings.push(message),
  });
  try {
    await test({ path, clock, watch, plans, warnings, write });
  } finally {
    end.abort();
    await watch.done;
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("watchConfig() applies a changed file at the next look, and only once", () =>
  watching(async ({ clock, watch, plans, warnings, write }) => {
    await clock.advance(POLL_MS);
    write(textWith({ "retry_max_attempts": 7 }));
    await clock.advance(POLL_MS - 1);
    strictEqual(watch.config.retryMaxAttempts, 3);
    await clock.advance(1);
    strictEqual(watch.config.retryMaxAttempts, 7);
    await clock.advance(10 * POLL_MS);
    deepStrictEqual(plans.map((plan) => plan.applied), [["retry_max_attempts"]]);
    deepStrictEqual(warnings, []);
  }));

Deno.test("watchConfig() does not miss a change between the load and the watch", () =>
  watching(async ({ path, clock, plans }) => {
    const other = loadConfig(path);
    const end = new AbortController();
    Deno.writeTextFileSync(path, textWith({ "retry_max_attempts": 7 }));
    const late = watchConfig({
      path,
      running: other,
      clock,
      signal: end.signal,
      onReload: () => {},
      onWarning: () => {},
    });
    await clock.advance(POLL_MS);
    strictEqual(late.config.retryMaxAttempts, 7);
    end.abort();
    await late.done;
    strictEqual(plans.length, 1);
  }));

Deno.test("watchConfig() keeps the old configuration over a bad file, and warns once", () =>
  watching(async ({ clock, watch, plans, warnings, write }) => {
    write("{ no json");
    await clock.advance(5 * POLL_MS);
    strictEqual(warnings.length, 1);
    match(warnings[0]!, /line 1, column 3[^]*stays in use/);
    write(textWith({ "upload_threads": 0 }));
    await clock.advance(5 * POLL_MS);
    strictEqual(warnings.length, 2);
    match(warnings[1]!, /"upload_threads" is 0/);
    deepStrictEqual([plans.length, watch.config.uploadThreads], [0, 4]);
    write(textWith({ "retry_max_attempts": 1 }));
    await clock.advance(POLL_MS);
    deepStrictEqual([warnings.length, watch.config.retryMaxAttempts], [2, 1]);
  }));

Deno.test("watchConfig() warns once of a file that is gone, and takes it when it is back", () =>
  watching(async ({ path, clock, watch, warnings, write }) => {
    Deno.removeSync(path);
    await clock.advance(5 * POLL_MS);
    strictEqual(warnings.length, 1);
    match(warnings[0]!, /no such file/);
    write(textWith({ "retry_max_attempts": 1 }));
    await clock.advance(POLL_MS);
    strictEqual(watch.config.retryMaxAttempts, 1);
  }));

Deno.test("watchConfig() names what waits for a restart and goes on with the old value", () =>
  watching(async ({ clock, watch, plans, warnings, write }) => {
    write(textWith({ "upload_threads": 9 }));
    await clock.advance(5 * POLL_MS);
    deepStrictEqual(warnings, ["Changed, but not before a restart: upload_threads"]);
    deepStrictEqual([plans.length, watch.config.uploadThreads], [0, 4]);
  }));

Deno.test("watchConfig() takes a refused file once the secret is there that it lacks, and warns once", () =>
  watching(async ({ path, clock, watch, plans, warnings, write }) => {
    const file = `${path}.key`;
    const primary = {
      type: "azure",
      "account_name": "a",
      container: "c",
      "account_key": { file },
    };
    Deno.writeTextFileSync(path, textWith());
    write(textWith({ secondary: primary, "retry_max_attempts": 7 }));
    await clock.advance(5 * POLL_MS);
    strictEqual(warnings.length, 1);
    match(warnings[0]!, /secret[^]*stays in use/);
    watch.check();
    strictEqual(warnings.length, 2);
    Deno.writeTextFileSync(file, "c2VjcmV0\n");
    await clock.advance(POLL_MS);
    strictEqual(watch.config.retryMaxAttempts, 7);
    strictEqual(plans.length, 1);
  }));

Deno.test("check() looks at once", () =>
  watching(async ({ watch, plans, write }) => {
    write(textWith({ "retry_max_attempts": 7 }));
    watch.check();
    strictEqual(watch.config.retryMaxAttempts, 7);
    deepStrictEqual(plans[0]?.config, watch.config);
    await Promise.resolve();
  }));
