/**
 * A stop of a daemon that is not ready yet, because a store or a helper does not answer.
 *
 * @module
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { Site, until } from "./site.ts";

interface Starting {
  readonly daemon: Deno.ChildProcess;
  logText(): string;
}

function start(site: Site, env: Record<string, string> = {}): Starting {
  const daemon = new Deno.Command(site.executable, {
    args: ["run", "--config", `${site.directory}/config.json`],
    env,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    daemon,
    logText(): string {
      try {
        return site.log;
      } catch {
        return "";
      }
    },
  };
}

Deno.test("a start that waits for a store says for which, and a stop ends it", async () => {
  await using site = await Site.open();
  // Takes connections, and never answers.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const taken: Deno.Conn[] = [];
  const taking = (async () => {
    try {
      for await (const connection of listener) taken.push(connection);
    } catch {
      // It was closed.
    }
  })();
  await site.configure({
    primary: {
      ...{
        type: "s3",
        bucket: "b",
        region: "us-east-1",
        access_key: "a",
        secret_key: "s",
      },
      endpoint: `http://127.0.0.1:${listener.addr.port}`,
      endpoint_pin: true,
    },
  });
  const { daemon, logText } = start(site);
  await until("the store is asked", () => taken.length > 0);
  await until("it is told", () => /waiting for the primary store/.test(logText()));
  daemon.kill("SIGTERM");
  deepStrictEqual((await daemon.status).code, 0);
  match(logText(), / stopped/);
  for (const connection of taken) connection.close();
  listener.close();
  await taking;
});

for (const name of ["p4-cache-fanotify", "p4-cache-gate"]) {
  Deno.test(`a stop ends a start whose ${name} does not answer, and the helper`, async () => {
    await using site = await Site.open();
    const native = `${site.directory}/native`;
    await Deno.mkdir(native);
    const pidFile = `${site.directory}/helper.pid`;
    const script =
      `#!/bin/sh\necho $$ > ${pidFile}.new; mv ${pidFile}.new ${pidFile}\nexec sleep 1000\n`;
    await Deno.writeTextFile(`${native}/${name}`, script, { mode: 0o755 });
    const { daemon } = start(site, { P4CACHE_LIB: native });
    const isThere = (path: string): boolean => {
      try {
        return Deno.statSync(path) !== null;
      } catch {
        return false;
      }
    };
    await until("the helper is there", () => isThere(pidFile));
    const pid = (await Deno.readTextFile(pidFile)).trim();
    daemon.kill("SIGTERM");
    strictEqual((await daemon.status).code, 0);
    strictEqual(isThere(`/proc/${pid}`), false);
  });
}
