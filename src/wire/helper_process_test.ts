/** HelperProcess on shell scripts: how a child talks, how it ends. */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { ManualClock } from "../../tests/support/manual_clock.ts";
import { type Clock, SYSTEM_CLOCK } from "../core/clock.ts";
import {
  argumentOf,
  HelperError,
  type HelperFault,
  HelperProcess,
} from "./helper_process.ts";
import { parseWatchMessage, type WatchMessage } from "./watch_message.ts";

function start(
  script: string,
  onStderrLine: (line: string) => void = () => {},
  clock: Clock = SYSTEM_CLOCK,
): HelperProcess<WatchMessage> {
  return new HelperProcess<WatchMessage>({
    helperPath: "/bin/sh",
    args: ["-c", script],
    parse: parseWatchMessage,
    onStderrLine,
    errorOf: (fault, message, options) => new HelperError(fault, message, options),
    clock,
  });
}

function isFault(
  fault: HelperFault,
  code: string | null = null,
): (error: unknown) => true {
  return (error) => {
    ok(error instanceof HelperError);
    deepEqual([error.fault, error.code], [fault, code]);
    return true;
  };
}

const OVERFLOW = `echo '{"t":"overflow"}'`;

Deno.test("messages come in order, and close() ends the iteration", async () => {
  const helper = start(`${OVERFLOW}; echo '{"t":"lost","why":"x"}'; read wait`);
  const seen: string[] = [];
  for await (const message of helper) {
    seen.push(message.t);
    if (seen.length === 2) await helper.close();
  }
  deepEqual(seen, ["overflow", "lost"]);
  equal(await helper.next(), null);
  await helper.close();
});

Deno.test("close() ends a next() that waits", async () => {
  const helper = start("read wait");
  const waiting = helper.next();
  await helper.close();
  equal(await waiting, null);
});

Deno.test("what was sent before close() reaches the helper, in order", async () => {
  const told: string[] = [];
  const helper = start("cat >&2", (line) => told.push(line));
  const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i}`);
  for (const line of lines) helper.send(`${line}\n`);
  await helper.close();
  deepEqual(told, lines);
});

Deno.test("a helper that will not read until it has written all can be closed", async () => {
  const helper = start(
    `i=0; while [ $i -lt 40000 ]; do ${OVERFLOW}; i=$((i+1)); done; cat >/dev/null`,
  );
  equal((await helper.next())?.t, "overflow");
  for (let i = 0; i < 40_000; i++) helper.send("xxxxxxxxxx\n");
  await helper.close();
});

Deno.test("a helper that ends by itself is an error, after its messages", async () => {
  const helper = start(`${OVERFLOW}; exit 3`);
  equal((await helper.next())?.t, "overflow");
  await rejects(helper.next(), isFault("died"));
  helper.send("goes nowhere\n");
  await helper.close();
});

Deno.test("a helper that is killed is an error that names the signal", async () => {
  const helper = start(`${OVERFLOW}; kill -9 $$`);
  equal((await helper.next())?.t, "overflow");
  await rejects(helper.next(), /SIGKILL/);
});

Deno.test("a fatal line is an error with the kernel's code", async () => {
  const helper = start(`echo '{"t":"fatal","code":"EPERM","why":"no"}'; exit 1`);
  await rejects(helper.next(), isFault("refused", "EPERM"));
});

Deno.test("a line that no helper says is an error", async () => {
  const helper = start("echo hello; read wait");
  await rejects(helper.next(), isFault("garbled"));
});

/** Why there is no helper of this program. */
function startError(helperPath: string): HelperError {
  try {
    new HelperProcess<WatchMessage>({
      helperPath,
      args: [],
      parse: parseWatchMessage,
      onStderrLine: () => {},
      errorOf: (fault, message, options) => new HelperError(fault, message, options),
      clock: SYSTEM_CLOCK,
    });
  } catch (error) {
    if (error instanceof HelperError) return error;
    throw error;
  }
  throw new Error(`${helperPath} was started`);
}

Deno.test("a program that is not there is an error at once, and no permission is missing", () => {
  const { fault, isDenied } = startError("/nonexistent/helper");
  deepEqual([fault, isDenied], ["not-started", false]);
});

Deno.test("for a program that may not be executed a permission is missing", async () => {
  const path = await Deno.makeTempFile();
  const { fault, isDenied } = startError(path);
  await Deno.remove(path);
  deepEqual([fault, isDenied], ["not-started", true]);
});

Deno.test("a helper that does not end at the end of its input is killed", async () => {
  const asked: number[] = [];
  const hasty: Clock = {
    ...SYSTEM_CLOCK,
    sleep(delayMs: number): Promise<void> {
      asked.push(delayMs);
      return Promise.resolve();
    },
  };
  const helper = start(`${OVERFLOW}; exec sleep 1000`, () => {}, hasty);
  equal((await helper.next())?.t, "overflow");
  await helper.close();
  deepEqual(asked, [5_000]);
});

Deno.test("a helper gets nothing of the daemon's environment", async () => {
  Deno.env.set("AWS_SECRET_ACCESS_KEY", "secret");
  try {
    const told: string[] = [];
    const helper = start(
      "cat /proc/$$/environ | tr '\\0' '\\n' >&2",
      (l) => told.push(l),
    );
    await rejects(helper.next(), isFault("died"));
    deepEqual(
      told.filter((line) => line.includes("secret") || line.startsWith("PATH")),
      [],
    );
  } finally {
    Deno.env.delete("AWS_SECRET_ACCESS_KEY");
  }
});

Deno.test("messages that nobody takes stay in the pipe", async () => {
  // More than pipe and reader hold: a helper that could write all would end, and be reaped.
  const helper = start(
    `i=0; while [ $i -lt 100000 ]; do ${OVERFLOW}; i=$((i+1)); done; echo all >&2; read wait`,
    (line) => told.push(line),
  );
  const told: string[] = [];
  for (let i = 0; i < 10; i++) equal((await helper.next())?.t, "overflow");
  deepEqual(told, []);
  for (let i = 10; i < 100_000; i++) equal((await helper.next())?.t, "overflow");
  await helper.close();
  deepEqual(told, ["all"]);
});

Deno.test("argumentOf() turns bytes into text, where they are UTF-8", () => {
  equal(argumentOf("/d\xc3\xa9p\xc3\xb4t"), "/dépôt");
  equal(argumentOf("/d\xe9p\xf4t"), null);
});

/** A child that is there and says nothing: no end of its input ends it. */
const HANGS = "exec sleep 1000";

function isThere(pid: number): boolean {
  try {
    return Deno.statSync(`/proc/${pid}`).isDirectory;
  } catch {
    return false;
  }
}

Deno.test("a helper that does not say that it works is killed when its time is over", async () => {
  const clock = new ManualClock();
  const helper = start(HANGS, () => {}, clock);
  const hung = rejects(helper.first(), isFault("hung"));
  await clock.advance(30_000);
  await hung;
  equal(isThere(helper.pid), false);
});

Deno.test("a stop waits for no helper that does not say that it works, and leaves none behind", async () => {
  const stop = new AbortController();
  const helper = start(HANGS);
  const stopped = rejects(
    helper.first(stop.signal),
    (error) => error === stop.signal.reason,
  );
  stop.abort();
  await stopped;
  equal(isThere(helper.pid), false);

  const late = start(HANGS);
  await rejects(late.first(stop.signal), (error) => error === stop.signal.reason);
  equal(isThere(late.pid), false);
});
