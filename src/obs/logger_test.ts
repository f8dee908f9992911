// deno-lint-ignore-file no-sync-fn-in-async-fn -- small files of a test's own directory
import { deepStrictEqual, match, strictEqual, throws } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { InvariantError } from "../core/assert.ts";
import { createMemoryLogger, type LoggerOptions, openLogger } from "./logger.ts";

interface Fixture {
  readonly directory: string;
  readonly clock: ManualClock;
  readonly options: LoggerOptions & { readonly file: string };
  /** Names in the directory with their content, in order of the names. */
  files(): Record<string, string>;
}

async function inDirectory(
  test: (fixture: Fixture) => Promise<void> | void,
): Promise<void> {
  const directory = Deno.makeTempDirSync();
  const clock = new ManualClock();
  const file = `${directory}/p4-cache.log`;
  const limits = { rotateMaxMb: 1, retentionDays: 2 } as const;
  const options = { format: "text", level: "info", file, ...limits, clock } as const;
  const files = (): Record<string, string> => {
    const names = [...Deno.readDirSync(directory)].map((it) => it.name).sort();
    return Object.fromEntries(
      names.map((name) => [name, Deno.readTextFileSync(`${directory}/${name}`)]),
    );
  };
  try {
    await test({ directory, clock, options, files });
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("openLogger() appends the wanted lines, with the fields of its children", () =>
  inDirectory(({ options, files }) => {
    Deno.writeTextFileSync(options.file, "old\n");
    Deno.utimeSync(
      options.file,
      options.clock.nowMs() / 1_000,
      options.clock.nowMs() / 1_000,
    );
    const logger = openLogger({ ...options, level: "warn,engine=debug" });
    const engine = logger.child({ module: "engine", depot: 1 });
    logger.info("not wanted");
    logger.warn("wanted");
    engine.debug("wanted too", { n: 2 });
    engine.child({ module: "gate" }).info("not wanted");
    logger.close();
    logger.error("after the end");
    deepStrictEqual(files(), {
      "p4-cache.log": "old\n" +
        "2026-03-01T10:00:00.000Z WARN  wanted\n" +
        "2026-03-01T10:00:00.000Z DEBUG engine: wanted too depot=1 n=2\n",
    });
  }));

Deno.test("openLogger() begins a new file each day and removes those that are too old", () =>
  inDirectory(async ({ options, clock, files }) => {
    const logger = openLogger(options);
    const day = (text: string, date: string): string => `2026-03-${date} INFO  ${text}\n`;
    for (const text of ["one", "two", "three", "four"]) {
      logger.info(text);
      await clock.advance(86_400_000);
    }
    logger.close();
    deepStrictEqual(files(), {
      "p4-cache.log": day("four", "04T10:00:00.000Z"),
      "p4-cache.log.2026-03-02.1": day("two", "02T10:00:00.000Z"),
      "p4-cache.log.2026-03-03.1": day("three", "03T10:00:00.000Z"),
    });
  }));

Deno.test("openLogger() removes no more for a clock that leaps a year ahead than for one day", () =>
  inDirectory(async ({ options, clock, files }) => {
    const days = ["2026-02-26", "2026-02-27", "2026-02-28"];
    for (const day of days) Deno.writeTextFileSync(`${options.file}.${day}.1`, day);
    const logger = openLogger({ ...options, retentionDays: 3 });
    logger.info("today");
    await clock.advance(365 * 86_400_000);
    logger.info("in a year");
    logger.close();
    deepStrictEqual(Object.keys(files()), [
      "p4-cache.log",
      "p4-cache.log.2026-02-27.1",
      "p4-cache.log.2026-02-28.1",
      "p4-cache.log.2026-03-01.1",
    ]);
  }));

Deno.test("openLogger() keeps files that are not its own, and all with a retention of 0", () =>
  inDirectory(({ options, directory, files }) => {
    const others = ["p4-cache.log.bak", "p4-cache.log.2020-01-01", "x.log.2020-01-01.1"];
    const rotated = "p4-cache.log.2020-01-01.1";
    const later = ["p4-cache.log.2020-01-02.1", "p4-cache.log.2020-01-03.1"];
    for (const name of [...others, rotated, ...later]) {
      Deno.writeTextFileSync(`${directory}/${name}`, "");
    }
    openLogger({ ...options, retentionDays: 0 }).close();
    strictEqual(rotated in files(), true);
    openLogger(options).close();
    const kept = ["p4-cache.log", ...others, ...later];
    deepStrictEqual(Object.keys(files()), kept.sort());
  }));

Deno.test("openLogger() begins a new file beyond the size, and never loses a line to it", () =>
  inDirectory(({ options, files }) => {
    const logger = openLogger(options);
    const filler = "x".repeat(400_000);
    for (let n = 0; n < 6; n++) logger.info(`${n} ${filler}`);
    logger.close();
    const kept = Object.entries(files()).map(([name, content]) => [
      name,
      content.trimEnd().split("\n").map((line) => line.slice(31, 32)).join(""),
    ]);
    deepStrictEqual(kept, [
      ["p4-cache.log", "45"],
      ["p4-cache.log.2026-03-01.1", "01"],
      ["p4-cache.log.2026-03-01.2", "23"],
    ]);
  }));

Deno.test("openLogger() rotates a file of another day that it finds at start", () =>
  inDirectory(({ options, files }) => {
    Deno.writeTextFileSync(options.file, "yesterday\n");
    const dayBefore = options.clock.nowMs() / 1_000 - 86_400;
    Deno.utimeSync(options.file, dayBefore, dayBefore);
    const logger = openLogger(options);
    logger.info("today");
    logger.close();
    strictEqual(files()["p4-cache.log.2026-02-28.1"], "yesterday\n");
    strictEqual(files()["p4-cache.log"], "2026-03-01T10:00:00.000Z INFO  today\n");
  }));

Deno.test("openLogger() goes on in the open file when it cannot rotate", () =>
  inDirectory(async ({ options, clock, directory }) => {
    const kept = `${directory}/kept`;
    const file = `${directory}/gone/p4-cache.log`;
    Deno.mkdirSync(`${directory}/gone`);
    const logger = openLogger({ ...options, file });
    logger.info("one");
    await clock.advance(86_400_000);
    Deno.linkSync(file, kept);
    Deno.removeSync(`${directory}/gone`, { recursive: true });
    logger.info("two");
    logger.info("three");
    logger.close();
    deepStrictEqual(Deno.readTextFileSync(kept).split("\n"), [
      "2026-03-01T10:00:00.000Z INFO  one",
      "2026-03-02T10:00:00.000Z INFO  two",
      "2026-03-02T10:00:00.000Z INFO  three",
      "",
    ]);
  }));

Deno.test("openLogger() begins a new file when somebody has moved the old one away", () =>
  inDirectory(async ({ options, clock, directory, files }) => {
    const logger = openLogger(options);
    logger.info("one");
    Deno.renameSync(options.file, `${directory}/elsewhere`);
    await clock.advance(86_400_000);
    logger.info("two");
    logger.close();
    deepStrictEqual(files(), {
      "elsewhere": "2026-03-01T10:00:00.000Z INFO  one\n",
      "p4-cache.log": "2026-03-02T10:00:00.000Z INFO  two\n",
    });
  }));

Deno.test("openLogger() goes on after the disk has refused a line", () =>
  inDirectory(({ options, files }) => {
    Deno.symlinkSync("/dev/full", options.file);
    const logger = openLogger(options);
    logger.info("refused");
    Deno.removeSync(options.file);
    logger.reconfigure(options);
    logger.info("written");
    logger.close();
    deepStrictEqual(files(), {
      "p4-cache.log": "2026-03-01T10:00:00.000Z INFO  written\n",
    });
  }));

Deno.test("reconfigure() changes level, format and file from the next line on", () =>
  inDirectory(({ options, directory, files }) => {
    const logger = openLogger(options);
    const child = logger.child({ module: "engine" });
    child.debug("not yet");
    child.info("first");
    const second = `${directory}/second.log`;
    logger.reconfigure({ ...options, file: second, level: "debug", format: "json" });
    child.debug("now");
    logger.close();
    deepStrictEqual(files(), {
      "p4-cache.log": "2026-03-01T10:00:00.000Z INFO  engine: first\n",
      "second.log":
        '{"ts":"2026-03-01T10:00:00.000Z","level":"debug","module":"engine","message":"now"}\n',
    });
  }));

Deno.test("reconfigure() keeps the old file when the new one cannot be opened, and says so", () =>
  inDirectory(({ options, directory, files }) => {
    const logger = openLogger(options);
    logger.reconfigure({ ...options, file: `${directory}/no/such.log`, level: "debug" });
    logger.debug("still here");
    logger.close();
    const [error, line, end] = files()["p4-cache.log"]!.split("\n");
    match(
      error!,
      /ERROR Cannot open the new log file; .* file=\/.*\/no\/such\.log why=".*No such/,
    );
    deepStrictEqual([line, end], ["2026-03-01T10:00:00.000Z DEBUG still here", ""]);
  }));

Deno.test("close() says how often an error was repeated", () =>
  inDirectory(({ options, files }) => {
    const logger = openLogger(options);
    for (let n = 0; n < 4; n++) {
      logger.error("Cannot reach the store", { why: "timeout" });
    }
    logger.close();
    deepStrictEqual(files()["p4-cache.log"]?.split("\n"), [
      "2026-03-01T10:00:00.000Z ERROR Cannot reach the store why=timeout",
      "2026-03-01T10:00:00.000Z ERROR Cannot reach the store (repeated 3 times) why=timeout",
      "",
    ]);
  }));

Deno.test("openLogger() takes a level that the configuration would refuse for a bug", () =>
  inDirectory(({ options }) => {
    throws(() => openLogger({ ...options, level: "loud" }), InvariantError);
  }));

Deno.test("createMemoryLogger() keeps the lines of its children too", () => {
  const logger = createMemoryLogger();
  logger.child({ module: "x" }).warn("m", { n: 1 });
  deepStrictEqual(logger.records, [{
    level: "warn",
    message: "m",
    fields: { module: "x", n: 1 },
  }]);
});

Deno.test("openLogger() has one write to standard output at a time, whatever it is told anew", () =>
  inDirectory(async ({ options, clock, files }) => {
    const written: string[] = [];
    const reading = Promise.withResolvers<void>();
    const writeOut = async (bytes: Uint8Array): Promise<number> => {
      written.push(new TextDecoder().decode(bytes));
      await reading.promise;
      return bytes.length;
    };
    const logger = openLogger({ ...options, file: null, writeOut });
    logger.info("one");
    strictEqual(logger.reconfigure({ ...options, file: null }), true);
    logger.info("two");
    logger.reconfigure(options);
    logger.info("to the file");
    logger.reconfigure({ ...options, file: null });
    logger.info("three");
    await clock.advance(0);
    const line = (text: string): string => `2026-03-01T10:00:00.000Z INFO  ${text}\n`;
    deepStrictEqual(written, [line("one")]);
    reading.resolve();
    await logger.close();
    deepStrictEqual(written, [line("one"), line("two"), line("three")]);
    deepStrictEqual(files(), { "p4-cache.log": line("to the file") });
  }));

Deno.test("reconfigure() says whether the new file is in use", () =>
  inDirectory(({ options, directory, files }) => {
    const logger = openLogger(options);
    const file = `${directory}/missing/p4-cache.log`;
    strictEqual(logger.reconfigure({ ...options, file, level: "error" }), false);
    strictEqual(logger.reconfigure(options), true);
    logger.close();
    match(files()["p4-cache.log"]!, /ERROR Cannot open the new log file/);
  }));
