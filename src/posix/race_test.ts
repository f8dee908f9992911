import { equal, ok } from "node:assert/strict";
import { NOTE_SUFFIX, type Posix } from "./posix.ts";
import {
  evict,
  expectedOf,
  posixTest,
  publishText,
  readText,
  write,
} from "./posix_fixture.ts";

/**
 * Evicts and restores `x,v` for as long as `writer` runs. Whatever is evicted is kept as the
 * store would keep it: what was read before the eviction.
 */
async function churn(
  posix: Posix,
  at: string,
  writer: Deno.ChildProcess,
): Promise<string> {
  const target = `${at}/x,v`;
  let isRunning = true;
  const end = writer.status.then(({ success }) => {
    isRunning = false;
    ok(success, "the writer failed");
  });
  let stored = "";
  const seen = new Set<string>();
  while (isRunning) {
    const stat = posix.lstat(target);
    if (stat?.kind === "file") {
      const expect = expectedOf(posix, target);
      const text = await readText(posix, target).catch(() => null);
      if (text === null) continue;
      const result = await evict(posix, at, expect);
      seen.add(result);
      letGo(posix, `${at}/aside`);
      if (result === "evicted") stored = text;
    } else if (stat?.kind === "socket") {
      const result = await publishText(posix, at, stored, stat);
      seen.add(result);
      letGo(posix, `${at}/temp`);
    }
  }
  await end;
  ok(seen.has("evicted") && seen.has("published"), [...seen].join());
  return posix.lstat(target)!.kind === "socket" ? stored : await readText(posix, target);
}

/** What stays aside is ours, or a version that was replaced while another one was shown. */
function letGo(posix: Posix, aside: string): void {
  const { outcome } = posix.recoverExchange(aside);
  ok(outcome === "no-note" || outcome === "to-be-kept", outcome);
  posix.unlink(aside);
  posix.unlink(aside + NOTE_SUFFIX);
}

function python(text: string, ...args: string[]): Deno.ChildProcess {
  return new Deno.Command("python3", { args: ["-c", text, ...args] }).spawn();
}

posixTest(
  "a file that is renamed over the name survives every race",
  async (posix, at) => {
    await write(posix, `${at}/x,v`, "0");
    const writer = python(
      `
import os, sys, time
at = sys.argv[1]
for version in range(1, 3001):
    with open(at + "/new", "w") as file:
        file.write(str(version))
    os.rename(at + "/new", at + "/x,v")
    if version % 10 == 0:
        time.sleep(0.003)
`,
      at,
    );
    equal(await churn(posix, at, writer), "3000");
  },
);

posixTest(
  "what is written into the file in place survives every race",
  async (posix, at) => {
    await write(posix, `${at}/x,v`, "");
    // An evicted file is ENXIO for a program without the shim, which tries again.
    const writer = python(
      `
import errno, os, sys, time
for line in range(300):
    while True:
        try:
            fd = os.open(sys.argv[1] + "/x,v", os.O_WRONLY | os.O_APPEND)
            break
        except OSError as error:
            if error.errno not in (errno.ENXIO, errno.EACCES):
                raise
    os.write(fd, b"%d\\n" % line)
    os.close(fd)
    time.sleep(0.001 * (line % 9))
`,
      at,
    );
    const lines = Array.from({ length: 300 }, (_, i) => `${i}\n`).join("");
    equal(await churn(posix, at, writer), lines);
  },
);
