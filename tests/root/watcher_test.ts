/**
 * The watcher as the daemon opens it: the driver and the real helper together.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { bytePathOf } from "../../src/core/names.ts";
import {
  openWatcher,
  type Watcher,
  type WatcherOptions,
  WatchError,
  type WatchEvent,
} from "../../src/watch/watcher.ts";
import { NOBODY_UID, runAs, sh, withDirectory } from "./files.ts";
import { helperPath, scriptFor } from "./helper_scripts.ts";
import { rootTest } from "./raw_helper.ts";

const HELPER = "p4-cache-fanotify";

function optionsFor(
  depot: string,
  more: Partial<WatcherOptions> = {},
): WatcherOptions {
  return { helperPath: helperPath(HELPER), roots: [bytePathOf(depot)], ...more };
}

async function withDepot(
  run: (depot: string, directory: string) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const depot = `${directory}/depot`;
    await Deno.mkdir(depot, { recursive: true });
    await Deno.chmod(depot, 0o777);
    await run(depot, directory);
  });
}

/** Takes events up to the close of `END`, which the caller has written. */
async function untilEnd(watcher: Watcher): Promise<WatchEvent[]> {
  const events: WatchEvent[] = [];
  for await (const event of watcher) {
    if (event.t === "close" && event.path === "END") return events;
    events.push(event);
  }
  throw new Error("the watcher ended first");
}

/** The helper as an installation has it: its group alone may start it. */
async function installedIn(directory: string): Promise<string> {
  const copy = `${directory}/${HELPER}`;
  await Deno.copyFile(helperPath(HELPER), copy);
  await sh('chown "root:$2" "$1"; chmod 750 "$1"', copy, `${NOBODY_UID}`);
  await sh('setcap cap_sys_admin,cap_dac_read_search=ep "$1"', copy);
  return copy;
}

/** A shell has to stand between it and the helper: what setpriv keeps, the shell drops. */
const AS_NOBODY =
  `exec setpriv --reuid=${NOBODY_UID} --regid=${NOBODY_UID} --clear-groups `;

function isRefusal(code: string): (error: unknown) => true {
  return (error) => {
    ok(error instanceof WatchError, String(error));
    deepEqual([error.fault, error.code], ["refused", code]);
    return true;
  };
}

rootTest(
  "events arrive typed, and close() ends the iteration",
  () =>
    withDepot(async (depot) => {
      const watcher = await openWatcher(optionsFor(depot));
      equal(watcher.ready.mode, "fid");
      await sh(
        'cd "$1"; echo 1 >"$(printf "t\\351mp")"; mv t* x,v; rm x,v; : >END',
        depot,
      );
      const events = (await untilEnd(watcher)).map(({ t, ...rest }) => [
        t,
        ..."path" in rest ? [rest.path] : "from" in rest ? [rest.from, rest.to] : [],
      ]);
      deepEqual(events, [
        ["close", "t\xe9mp"],
        ["move", "t\xe9mp", "x,v"],
        ["delete", "x,v"],
      ]);
      const rest = watcher[Symbol.asyncIterator]().next();
      await watcher.close();
      equal((await rest).done, true);
    }),
);

rootTest(
  "a burst waits for a consumer that is busy, and none of it is lost",
  () =>
    withDepot(async (depot) => {
      const watcher = await openWatcher(optionsFor(depot));
      try {
        const count = 5_000;
        // Nothing is taken before all is written.
        await sh(
          'cd "$1"; for i in $(seq "$2"); do : >$i,v; done; : >END',
          depot,
          `${count}`,
        );
        const paths = new Set<string>();
        for (const event of await untilEnd(watcher)) {
          if (event.t === "close") paths.add(event.path);
          else equal(event.t, "close");
        }
        equal(paths.size, count);
      } finally {
        await watcher.close();
      }
    }),
);

rootTest(
  "with its file capabilities the helper serves an ordinary user",
  () =>
    withDepot(async (depot, directory) => {
      const copy = await installedIn(directory);
      const script = await scriptFor(
        directory,
        HELPER,
        AS_NOBODY + `sh -c 'exec "$0" "$@"' '${copy}' "$@"`,
      );
      await sh('chown "$2" "$1"', depot, `${NOBODY_UID}`);
      const watcher = await openWatcher(optionsFor(depot, { helperPath: script }));
      try {
        // A writer that lives on, one that is gone, and a directory that nobody else may enter.
        await runAs(NOBODY_UID, 'cd "$1"; echo 1 >mine,v', depot);
        await sh('cd "$1"; mkdir -m 700 closed; echo 1 >closed/x,v; : >END', depot);
        const events = await untilEnd(watcher);
        deepEqual(
          events.map((event) => event.t === "close" ? [event.path, event.uid] : event),
          [["mine,v", NOBODY_UID], ["closed/x,v", 0]],
        );
      } finally {
        await watcher.close();
      }
    }),
);

rootTest(
  "a depot of somebody else is not watched for an ordinary user, and the error says whose it is",
  () =>
    withDepot(async (depot, directory) => {
      const copy = await installedIn(directory);
      const script = await scriptFor(
        directory,
        HELPER,
        AS_NOBODY + `sh -c 'exec "$0" "$@"' '${copy}' "$@"`,
      );
      const options = optionsFor(depot, { helperPath: script });
      const opening = openWatcher(options);
      await rejects(opening, isRefusal("EPERM"));
      await rejects(opening, /it belongs to UID 0, and this runs as UID 65534; .*chown/);
      // By a name of his own: what counts is the directory itself.
      await sh('ln -s "$1" "$2/own"; chown -h "$3" "$2/own"', depot, directory, "65534");
      const own = [bytePathOf(`${directory}/own`)];
      await rejects(openWatcher({ ...options, roots: [own[0]!] }), isRefusal("EPERM"));
      // Of what he may not enter, not even whether it is there.
      await sh('chmod 700 "$1"; mkdir "$1/in"; chown "$2" "$1/in"', depot, "65534");
      for (const name of ["in", "none"]) {
        const roots = [bytePathOf(`${depot}/${name}`)];
        await rejects(openWatcher({ ...options, roots }), isRefusal("EACCES"));
      }
    }),
);

rootTest(
  "NoNewPrivileges takes them away, and the error says what is wanted",
  () =>
    withDepot(async (depot, directory) => {
      const copy = await installedIn(directory);
      const script = await scriptFor(
        directory,
        HELPER,
        AS_NOBODY + `sh -c 'exec setpriv --no-new-privs "$0" "$@"' '${copy}' "$@"`,
      );
      await sh('chown "$2" "$1"', depot, `${NOBODY_UID}`);
      const opening = openWatcher(optionsFor(depot, { helperPath: script }));
      await rejects(opening, isRefusal("EPERM"));
      await rejects(opening, /CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH/);
      await rejects(opening, (error: WatchError) => error.isDenied);
    }),
);

rootTest(
  "marking is not enough: without CAP_DAC_READ_SEARCH it refuses at the start",
  () =>
    withDepot(async (depot, directory) => {
      const script = await scriptFor(
        directory,
        HELPER,
        'exec setpriv --bounding-set=-dac_read_search --inh-caps=-dac_read_search "$helper" "$@"',
      );
      await rejects(
        openWatcher(optionsFor(depot, { helperPath: script })),
        isRefusal("EPERM"),
      );
    }),
);

rootTest(
  "directories below the depot on another device are one tree with it",
  () =>
    withDepot(async (depot, directory) => {
      await sh('mkdir "$1/vol" "$2/far"; mount -t tmpfs none "$1/vol"', depot, directory);
      try {
        await sh(
          'mount -t tmpfs none "$2/far"; ln -s "$2/far" "$1/big"',
          depot,
          directory,
        );
        try {
          const roots = [depot, `${depot}/vol`, `${depot}/big`].map(bytePathOf);
          const watcher = await openWatcher(optionsFor(depot, { roots }));
          try {
            await sh(
              'cd "$1"; echo 1 >a,v; mkdir vol/d big/d; echo 1 >vol/d/b,v; echo 1 >big/d/c,v; ' +
                "mkdir vol/.p4cache; echo 1 >vol/.p4cache/tmp; mv vol/d vol/e; : >vol/e/f,v; " +
                ": >END",
              depot,
            );
            const seen = (await untilEnd(watcher)).map((event) =>
              event.t === "close" ? event.path : event.t === "move" ? event.to : event
            );
            deepEqual(
              new Set(seen),
              new Set(["a,v", "vol/d/b,v", "big/d/c,v", "vol/e", "vol/e/f,v"]),
            );
          } finally {
            await watcher.close();
          }
        } finally {
          await sh('umount "$1"', `${directory}/far`);
        }
      } finally {
        await sh('umount "$1"', `${depot}/vol`);
      }
    }),
);

rootTest(
  "a directory that does not belong to the depot is refused",
  () =>
    withDepot(async (depot, directory) => {
      const roots = [depot, directory].map(bytePathOf);
      await rejects(openWatcher(optionsFor(depot, { roots })), isRefusal("EINVAL"));
    }),
);

rootTest(
  "a depot that is moved away ends the watcher, it does not go blind",
  () =>
    withDepot(async (depot, directory) => {
      const watcher = await openWatcher(optionsFor(depot));
      await Deno.rename(depot, `${directory}/elsewhere`);
      await rejects(untilEnd(watcher), isRefusal("ESTALE"));
      await watcher.close();
    }),
);

rootTest(
  "a helper that is killed is told as an error",
  () =>
    withDepot(async (depot, directory) => {
      const script = await scriptFor(
        directory,
        HELPER,
        'echo $$ >&2; exec "$helper" "$@"',
      );
      const pid = Promise.withResolvers<number>();
      const watcher = await openWatcher(optionsFor(depot, {
        helperPath: script,
        onStderrLine: (line) => pid.resolve(Number(line)),
      }));
      Deno.kill(await pid.promise, "SIGKILL");
      await rejects(untilEnd(watcher), (error: WatchError) => error.fault === "died");
      await watcher.close();
    }),
);

rootTest(
  "the signals that a service manager sends to all do not end it",
  () =>
    withDepot(async (depot, directory) => {
      const script = await scriptFor(
        directory,
        HELPER,
        'echo $$ >&2; exec "$helper" "$@"',
      );
      const pid = Promise.withResolvers<number>();
      const watcher = await openWatcher(optionsFor(depot, {
        helperPath: script,
        onStderrLine: (line) => pid.resolve(Number(line)),
      }));
      try {
        for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
          Deno.kill(await pid.promise, signal);
        }
        await sh(': >"$1/END"', depot);
        deepEqual(await untilEnd(watcher), []);
      } finally {
        await watcher.close();
      }
    }),
);
