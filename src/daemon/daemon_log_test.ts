// deno-lint-ignore-file no-sync-fn-in-async-fn -- small files of a test's own directory
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import type { Config } from "../config/key_table.ts";
import { parseConfig } from "../config/parse_config.ts";
import { applyToLog, loggingRefusal, openDaemonLog } from "./daemon_log.ts";
import { EXIT, StartError } from "./start_error.ts";

function configOf(more: Record<string, unknown>): Config {
  const primary = { type: "nfs", path: "/store" };
  const parsed = parseConfig({ depot_path: "/depot", primary, ...more });
  if ("problems" in parsed) throw new Error(JSON.stringify(parsed.problems));
  return parsed.config;
}

interface Logged {
  readonly log: ReturnType<typeof openDaemonLog>;
  /** What went to standard output. */
  readonly out: string[];
  readonly directory: string;
}

async function logging(
  file: (directory: string) => string,
  test: (logged: Logged) => Promise<void>,
): Promise<void> {
  const directory = Deno.makeTempDirSync();
  const out: string[] = [];
  const config = configOf({ log_file: file(directory) });
  const log = openDaemonLog(config, new ManualClock(), (bytes) => {
    out.push(new TextDecoder().decode(bytes));
    return Promise.resolve(bytes.length);
  });
  try {
    await test({ log, out, directory });
  } finally {
    await log.close();
    Deno.removeSync(directory, { recursive: true });
  }
}

const inMissing = (directory: string): string => `${directory}/missing/log`;
const inPlace = (directory: string): string => `${directory}/log`;

Deno.test("a log_file that cannot be opened is told on standard output, where the log goes on", () =>
  logging(inMissing, async ({ log, out, directory }) => {
    log.info("goes on");
    await log.close();
    strictEqual(out.length, 2);
    match(out[0]!, / ERROR Cannot open log_file .*missing\/log .*, and send SIGHUP/);
    match(out[1]!, / INFO {2}goes on/);
    ok(out[0]!.includes(directory));
  }));

Deno.test("it is opened once it can be", () =>
  logging(inMissing, async ({ log, out, directory }) => {
    Deno.mkdirSync(`${directory}/missing`);
    const config = configOf({ log_file: inMissing(directory) });
    deepStrictEqual(applyToLog(log, config, []), []);
    log.info("here");
    await log.close();
    match(Deno.readTextFileSync(inMissing(directory)), / INFO {2}here\n$/);
    strictEqual(out.length, 1);
  }));

Deno.test("what a log that goes on where it was does not follow is not applied", () =>
  logging(inPlace, async ({ log, directory }) => {
    const keys = ["log_level", "log_file", "log_rotate_max_mb", "max_cache_bytes"];
    const config = configOf({ log_file: inMissing(directory) });
    deepStrictEqual(applyToLog(log, config, keys), ["log_level", "max_cache_bytes"]);
    Deno.mkdirSync(`${directory}/missing`);
    deepStrictEqual(applyToLog(log, config, keys), keys);
    await log.close();
  }));

Deno.test("why a start was refused is in the log once, a bug with its stack", () =>
  logging(inPlace, async ({ log, directory }) => {
    const refused = new StartError(EXIT.configuration, "not so");
    await rejects(loggingRefusal(log, () => Promise.reject(refused)), refused);
    const bug = new TypeError("a bug");
    await rejects(loggingRefusal(log, () => Promise.reject(bug)), bug);
    strictEqual(await loggingRefusal(log, () => Promise.resolve(7)), 7);
    await log.close();
    const lines = Deno.readTextFileSync(inPlace(directory)).trimEnd().split("\n");
    strictEqual(lines.length, 2);
    match(lines[0]!, / ERROR cannot run: not so$/);
    match(lines[1]!, / ERROR cannot run: a bug stack=/);
  }));
