/**
 * p4-cache-fanotify as a program, on the kernel that there is.
 *
 * @module
 */

import { deepEqual, equal, fail, match, ok } from "node:assert/strict";
import { fromFileUrl, NOBODY_UID, runAs, sh, withDirectory } from "./files.ts";
import { type Message, RawHelper, rootTest } from "./raw_helper.ts";

/** A depot beside other directories of the same file system, and a helper on it. */
async function withWatcher(
  args: readonly string[],
  run: (watcher: RawHelper, depot: string, ready: Message) => Promise<void>,
  around: (directory: string) => Promise<string[]> = () => Promise.resolve([]),
): Promise<void> {
  await withDirectory(async (directory) => {
    const depot = `${directory}/depot`;
    await Deno.mkdir(`${depot}/d/old`, { recursive: true });
    await Deno.writeTextFile(`${depot}/d/old/a`, "");
    await Deno.mkdir(`${depot}/.p4cache/tmp`, { recursive: true });
    await Deno.chmod(depot, 0o777);
    await Deno.chmod(`${depot}/d`, 0o777);
    await using watcher = new RawHelper(
      "p4-cache-fanotify",
      ["--root", depot, ...args],
      await around(directory),
    );
    await run(watcher, depot, await watcher.takeKind("ready"));
  });
}

/** All up to the close of a file that is written now: what came before it is then known. */
async function drained(watcher: RawHelper, depot: string): Promise<Message[]> {
  const name = `.p4cache/canary-${crypto.randomUUID()}`;
  await Deno.writeTextFile(`${depot}/${name}`, "");
  const messages: Message[] = [];
  for (;;) {
    const message = await watcher.take(() => true);
    // It may have been the one that is waited for.
    if (message.t === "lost") fail(`an event was lost: ${message.why}`);
    if (message.t === "close" && message.path === name) return messages;
    messages.push(message);
  }
}

/** Runs `text` in the depot, and tells what the watcher made of it. */
async function told(watcher: RawHelper, depot: string, text: string): Promise<string> {
  await sh(`cd "$1"; ${text}`, depot);
  return (await drained(watcher, depot)).map(brief).join("; ");
}

function brief(message: Message): string {
  const { t, path, from, to, dir, other } = message;
  const what = t === "move" ? `move ${from} ${to}` : `${t} ${path}`;
  return `${what}${dir === true ? "/" : ""}${other === true ? "@" : ""}`;
}

rootTest(
  "the way p4d writes an archive is seen in order: close, then move",
  () =>
    withWatcher([], async (watcher, depot, ready) => {
      equal(ready.mode, "fid");
      equal(
        await told(
          watcher,
          depot,
          "echo 1 >d/x,v; echo 2 >d/tmp.9.1; mv d/tmp.9.1 d/x,v",
        ),
        "close d/x,v; close d/tmp.9.1; move d/tmp.9.1 d/x,v",
      );
    }),
);

rootTest(
  "deletes and moves tell what it was, and what left the depot",
  () =>
    withWatcher([], async (watcher, depot) => {
      const steps = [
        ["mkdir e; echo 1 >e/a; echo 2 >e/b; rm e/a", "close e/a; close e/b; delete e/a"],
        ["mv e f", "move e f/"],
        ["mv f/b ../out", "move f/b null"],
        ["mv ../out f/c", "move null f/c"],
        ["mv f ../away", "move f null/"],
        ["echo 3 >../away/c", ""],
        ["mv ../away f", "move null f/"],
        ["echo 4 >f/c", "close f/c"],
        ["ln -s nowhere f/l; mv f/l f/c", "move f/l f/c@"],
        ["mkfifo f/p; mv f/p f/c", "move f/p f/c@"],
        ["rm f/c; rmdir f", "delete f/c; delete f/"],
      ] as const;
      for (const [text, expected] of steps) {
        const got = await told(watcher, depot, text);
        // Closing and removing one name in one breath may be one event of the kernel's.
        if (expected.includes("delete e/a")) {
          deepEqual(got.split("; ").sort(), expected.split("; ").sort());
        } else {
          equal(got, expected, text);
        }
      }
    }),
);

rootTest(
  "a name below a directory that was moved is told by its new place",
  () =>
    withWatcher([], async (watcher, depot) => {
      equal(await told(watcher, depot, "mkdir -p g/h; echo 1 >g/h/a"), "close g/h/a");
      equal(
        await told(watcher, depot, "mv g k; echo 2 >k/h/b"),
        "move g k/; close k/h/b",
      );
    }),
);

rootTest(
  "events that wait are told by the names that directories had at their time",
  () =>
    withWatcher([], async (watcher, depot) => {
      equal(await told(watcher, depot, "mkdir -p e/f/i; echo 1 >e/f/a"), "close e/f/a");
      Deno.kill(watcher.pid, "SIGSTOP");
      await sh(
        `cd "$1"; mv e/f/a e/f/b; mv e/f e/g; mkdir e/f; mv e/g/b e/f/c; mv e/g ../away
         mv e/f/c d/c; rmdir e/f; mv ../away e/back; echo 2 >e/back/i/d; rm -r e`,
        depot,
      );
      Deno.kill(watcher.pid, "SIGCONT");
      const got = (await drained(watcher, depot)).map(brief);
      const moves = got.filter((it) => it.startsWith("move"));
      deepEqual(moves, [
        "move e/f/a e/f/b",
        "move e/f e/g/",
        "move e/g/b e/f/c",
        "move e/g null/",
        "move e/f/c d/c",
        "move null e/back/",
      ]);
      ok(got.indexOf("delete e/f/") > got.indexOf("move e/f/c d/c"), got.join("; "));
      equal(got.at(-1), "delete e/");
    }),
);

rootTest(
  "a directory that was there before is known, also when it is gone at its first event",
  () =>
    withWatcher([], async (watcher, depot) => {
      Deno.kill(watcher.pid, "SIGSTOP");
      await sh('cd "$1"; mv d/old/a d/b; rmdir d/old', depot);
      Deno.kill(watcher.pid, "SIGCONT");
      const got = (await drained(watcher, depot)).map(brief).join("; ");
      equal(got, "move d/old/a d/b; delete d/old/");
    }),
);

/** Starts a helper to whom the kernel says ENOMEM of a directory, for 30 ms. */
async function withBusyHandles(directory: string): Promise<string[]> {
  const start = await preloaded(directory, "busy_handles");
  return [...start, "BUSY_MS=30", `BUSY_TOLD=${directory}/was-busy`];
}

/** Compiles `name`.c; what starts a helper with it. */
async function preloaded(directory: string, name: string): Promise<string[]> {
  const library = `${directory}/${name}.so`;
  const source = fromFileUrl(`${name}.c`, import.meta.url);
  const compile = 'cc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$1" "$2" -ldl';
  await sh(compile, library, source);
  return ["env", `LD_PRELOAD=${library}`];
}

rootTest(
  "a directory whose inode number is being given away just now is waited for",
  () =>
    withWatcher([], async (watcher, depot) => {
      await sh('cd "$1"; mkdir -p ../beside/x/y; mv ../beside/x d/x', depot);
      const got = await drained(watcher, depot);
      // What came with the directory is met here for the first time.
      await sh('cd "$1"; echo 1 >d/x/y/f', depot);
      got.push(...await drained(watcher, depot));
      equal(got.map(brief).join("; "), "move null d/x/; close d/x/y/f");
      ok((await Deno.stat(`${depot}/../was-busy`)).isFile);
    }, withBusyHandles),
);

rootTest(
  "a tree that is removed is told at least by its top",
  () =>
    withWatcher([], async (watcher, depot) => {
      const text = "mkdir q; echo 1 >q/a; echo 2 >q/b; rm -r q";
      // A name in a directory that is gone when its event is read has no place any more.
      match(await told(watcher, depot, text), /(?:^|; )delete q\/$/);
    }),
);

rootTest(
  "a name that link(2) makes is told",
  () =>
    withWatcher([], async (watcher, depot) => {
      await sh('cd "$1"; echo 1 >../elsewhere; ln ../elsewhere d/linked,v', depot);
      const seen = await drained(watcher, depot);
      ok(seen.some((m) => [m.path, m.to].includes("d/linked,v")), JSON.stringify(seen));
    }),
);

rootTest(
  "nothing is told of other directories, of reading, or of our own",
  () =>
    withWatcher([], async (watcher, depot) => {
      await sh('cd "$1"; echo 1 >d/r,v', depot);
      await drained(watcher, depot);
      await sh(
        'cd "$1"; cat d/r,v; ls d; stat d/r,v; echo 1 >.p4cache/tmp/restored',
        depot,
      );
      await sh('cd "$1"; echo 1 >../beside; mkdir ../depot2; echo 1 >../depot2/x', depot);
      equal((await drained(watcher, depot)).map(brief).join("; "), "");
    }),
);

rootTest(
  "names of any bytes come through, one character per byte",
  () =>
    withWatcher([], async (watcher, depot) => {
      await sh('cd "$1"; n=$(printf "\\351\\377\\001\\"\\\\"); echo 1 >"d/$n,v"', depot);
      const [close] = await drained(watcher, depot);
      equal(close!.path, 'd/\xe9\xff\x01"\\,v');
      for (const line of watcher.raw) match(line, /^[\x20-\x7e]+$/);
    }),
);

rootTest(
  "the writer's uid is the process's while it lives",
  () =>
    withWatcher([], async (watcher, depot, ready) => {
      await sh('touch "$1/d/mine" && chmod 666 "$1/d/mine"', depot);
      await drained(watcher, depot);
      // It writes a file of root's and then waits for us, so it can be asked.
      const child = new Deno.Command("setpriv", {
        args: [
          ...[`--reuid=${NOBODY_UID}`, `--regid=${NOBODY_UID}`, "--clear-groups"],
          ...["sh", "-c", 'echo 1 >"$1/d/mine"; read -r line', "sh", depot],
        ],
        stdin: "piped",
      }).spawn();
      const close = await watcher.takeKind("close");
      await child.stdin.close();
      await child.status;
      equal(close.path, "d/mine");
      equal(close.uid, NOBODY_UID);
      equal(close.pid, child.pid);
      equal(close.auth, ready.pidfd === true ? "pidfd" : "proc");
    }),
);

rootTest(
  "a writer that is gone is told by the file's owner",
  () =>
    withWatcher([], async (watcher, depot) => {
      Deno.kill(watcher.pid, "SIGSTOP");
      await runAs(NOBODY_UID, 'echo 1 >"$1/d/theirs,v"', depot);
      Deno.kill(watcher.pid, "SIGCONT");
      const close = await watcher.takeKind("close");
      equal(close.path, "d/theirs,v");
      equal(close.auth, "owner");
      equal(close.uid, NOBODY_UID);
    }),
);

/** Runs `text` as a process that is gone when the watcher looks; what was told, and by whom. */
async function toldLate(
  watcher: RawHelper,
  depot: string,
  uid: number,
  text: string,
): Promise<string[]> {
  await watcher.stopped(() => runAs(uid, text, depot));
  return (await drained(watcher, depot)).map(byWhom);
}

function byWhom(message: Message): string {
  return `${brief(message)} ${message.uid} ${message.auth}`;
}

/** An access list: the owner and UID 65534 may write, the group and all others may read. */
const GIVE_TO_NOBODY = `
import os, struct, sys
entries = [(1, 6, -1), (2, 6, 65534), (4, 4, -1), (16, 6, -1), (32, 4, -1)]
text = b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr(sys.argv[1], "system.posix_acl_access", struct.pack("<I", 2) + text)
`;

rootTest(
  "the owner does not stand for a writer that is gone where others may write",
  () =>
    withWatcher([], async (watcher, depot) => {
      const archives = [["all", "666"], ["group", "464"], ["none", "644"]] as const;
      for (const [name, mode] of archives) {
        await sh('echo 1 >"$1/d/$2,v"; chmod "$3" "$1/d/$2,v"', depot, name, mode);
      }
      await sh(
        'echo 1 >"$1/d/acl,v"; python3 -c "$2" "$1/d/acl,v"',
        depot,
        GIVE_TO_NOBODY,
      );
      await drained(watcher, depot);
      const write = (name: string): string => `echo 2 >>"$1/d/${name},v"`;
      const other = (name: string): string[] => [`close d/${name},v null other`];
      const nobody = (name: string): Promise<string[]> =>
        toldLate(watcher, depot, NOBODY_UID, write(name));
      deepEqual(await nobody("all"), other("all"));
      deepEqual(await nobody("acl"), other("acl"));
      // Root may have been it as well: nobody knows.
      const root = (name: string): Promise<string[]> =>
        toldLate(watcher, depot, 0, write(name));
      deepEqual(await root("group"), other("group"));
      deepEqual(await root("none"), ["close d/none,v 0 owner"]);
    }),
);

rootTest(
  "the owner stands for a writer that is gone and had made the file, whatever its mode",
  () =>
    withWatcher([], async (watcher, depot) => {
      deepEqual(
        await toldLate(watcher, depot, NOBODY_UID, 'umask 0; echo 1 >"$1/d/a"'),
        [`close d/a ${NOBODY_UID} owner`],
      );
      const renamed = "umask 0; cd $1/d; exec python3 -c " +
        `'import os; open("tmp.1", "w").close(); os.rename("tmp.1", "b")'`;
      deepEqual(await toldLate(watcher, depot, NOBODY_UID, renamed), [
        "close d/tmp.1 null none",
        `move d/tmp.1 d/b ${NOBODY_UID} owner`,
      ]);
      // Made while it was watched, written while nobody looked.
      const child = new Deno.Command("sh", {
        args: [
          "-c",
          'umask 0; exec 3>"$1/d/c"; echo; read -r go; echo 1 >&3',
          "sh",
          depot,
        ],
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      await child.stdout.getReader().read();
      await drained(watcher, depot);
      await watcher.stopped(async () => {
        await child.stdin.close();
        await child.status;
      });
      deepEqual((await drained(watcher, depot)).map(byWhom), ["close d/c 0 owner"]);
    }),
);

rootTest(
  "who links a file has not made it",
  () =>
    withWatcher([], async (watcher, depot) => {
      // It was in no event of this watcher.
      await Deno.chmod(`${depot}/d/old/a`, 0o666);
      const link = "import os, sys; os.chdir(sys.argv[1]); os.link('old/a', 'l'); " +
        "open('old/a', 'a').close(); os.unlink('l')";
      await watcher.stopped(() => sh('python3 -c "$1" "$2/d"', link, depot));
      const closes = (await drained(watcher, depot)).filter(({ t }) => t === "close");
      deepEqual(closes.map(byWhom), ["close d/old/a null other"]);
    }, (directory) => preloaded(directory, "late_clock")),
);

rootTest(
  "ten thousand files written at once are all told",
  () =>
    withWatcher([], async (watcher, depot) => {
      const resume = watcher.pause();
      await sh(
        'cd "$1/d"; i=0; while [ $i -lt 10000 ]; do : >f$i; i=$((i+1)); done',
        depot,
      );
      resume();
      const seen = new Set((await drained(watcher, depot)).map(brief));
      equal(seen.size, 10_000);
      ok(seen.has("close d/f0") && seen.has("close d/f9999"));
    }),
);

rootTest(
  "an overflow of the kernel's queue is told",
  () =>
    withWatcher(["--limited-queue"], async (watcher, depot) => {
      // The kernel's own limit, because another value would be everybody's on this machine.
      const limit = await Deno.readTextFile("/proc/sys/fs/fanotify/max_queued_events");
      Deno.kill(watcher.pid, "SIGSTOP");
      const text = 'cd "$1/d"; i=0; while [ $i -le $2 ]; do : >f$i; i=$((i+1)); done';
      await sh(text, depot, limit.trim());
      Deno.kill(watcher.pid, "SIGCONT");
      await watcher.takeKind("overflow");
      // And it goes on. Whatever else runs on this file system may make it overflow again.
      for (let i = 0;; i++) {
        await sh(': >"$1/d/after$2"', depot, String(i));
        const { t } = await watcher.take((message) =>
          message.t === "overflow" || message.path === `d/after${i}`
        );
        if (t === "close") break;
      }
    }),
);

rootTest(
  "without file handles the old interface tells of closes",
  () =>
    withWatcher(["--mode", "content"], async (watcher, depot, ready) => {
      equal(ready.mode, "content");
      equal(ready.rename, false);
      await sh('cd "$1"; echo 1 >d/x,v; echo 1 >../beside', depot);
      equal((await drained(watcher, depot)).map(brief).join("; "), "close d/x,v");
    }),
);

rootTest(
  "end of file ends it",
  () =>
    withWatcher([], async (watcher) => {
      equal(await watcher.end(), 0);
    }),
);

rootTest(
  "without CAP_SYS_ADMIN it says so and ends",
  () =>
    withDirectory(async (directory) => {
      await Deno.chown(directory, NOBODY_UID, NOBODY_UID);
      const watcher = new RawHelper("p4-cache-fanotify", ["--root", directory], [
        ...[
          "setpriv",
          `--reuid=${NOBODY_UID}`,
          `--regid=${NOBODY_UID}`,
          "--clear-groups",
        ],
        ...["--bounding-set=-all", "--inh-caps=-all"],
      ]);
      const fatal = await watcher.takeKind("fatal");
      equal(fatal.code, "EPERM");
      match(fatal.why as string, /CAP_SYS_ADMIN/);
      equal(await watcher.status(), 1);
    }),
);

rootTest("a root that is not there is named", () =>
  withDirectory(async (directory) => {
    const watcher = new RawHelper("p4-cache-fanotify", ["--root", `${directory}/none`]);
    const fatal = await watcher.takeKind("fatal");
    equal(fatal.code, "ENOENT");
    match(fatal.why as string, /none/);
    equal(await watcher.status(), 1);
  }));
