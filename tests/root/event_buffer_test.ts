/**
 * The event buffers that programs share with the gate: the real shim in programs that fall idle,
 * fork, run others, and end in every way; and peers that mean harm.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import { hostile, hostileAs } from "./event_buffer_peers.ts";
import { fromFileUrl, NOBODY_UID, withDirectory } from "./files.ts";
import { helperPath } from "./helper_scripts.ts";
import { type Message, RawHelper, rootTest } from "./raw_helper.ts";

interface AccessLine {
  readonly pid: number;
  readonly op: string;
  readonly path: string;
  readonly id: string;
}

function startGate(
  directory: string,
  buffersMax = 4_096,
  around: readonly string[] = [],
): RawHelper {
  const args = [
    ...["--shim-sock", `${directory}/shim.sock`],
    ...["--access-sock", `${directory}/access.sock`],
    ...["--socket-mode", "0666", "--max-requests", "4", "--allow-uid", "0"],
    ...["--max-buffers", String(buffersMax)],
  ];
  return new RawHelper("p4-cache-gate", args, around);
}

async function withGate(
  run: (gate: RawHelper, directory: string) => Promise<void>,
  buffersMax?: number,
): Promise<void> {
  await withDirectory(async (directory) => {
    const gate = startGate(directory, buffersMax);
    try {
      await gate.takeKind("ready");
      await run(gate, directory);
    } finally {
      equal(await gate.end(), 0, "the gate's status");
    }
  });
}

/** The lines of all access messages; each is given out once for each time it came. */
class Events {
  readonly #gate: RawHelper;
  readonly #lines: AccessLine[] = [];

  constructor(gate: RawHelper) {
    this.#gate = gate;
  }

  async take(wanted: (line: AccessLine) => boolean): Promise<AccessLine> {
    for (;;) {
      const index = this.#lines.findIndex(wanted);
      if (index >= 0) return this.#lines.splice(index, 1)[0]!;
      const { data, uid } = await this.#gate.takeKind("access");
      equal(uid, 0);
      const lines = (data as string).split("\n");
      equal(lines.pop(), "", "whole lines");
      this.#lines.push(...lines.map((line) => JSON.parse(line)));
    }
  }

  takePath(path: string): Promise<AccessLine> {
    return this.take((line) => line.path === path);
  }
}

async function attached(gate: RawHelper): Promise<number> {
  const maps = await Deno.readTextFile(`/proc/${gate.pid}/maps`);
  return maps.split("\n").filter((line) => line.includes("/SYSV")).length;
}

/** No event tells what a process has mapped: looks again until it is so. */
async function untilAttached(gate: RawHelper, count: number): Promise<void> {
  while (await attached(gate) !== count) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Takes counts until they make up `n`; no more may have come. */
async function takeCount(gate: RawHelper, name: string, n: number): Promise<void> {
  let seen = 0;
  while (seen < n) {
    const isCount = (message: Message): boolean => message.t === "count";
    const message = await gate.take(isCount);
    equal(message.name, name);
    seen += message.n as number;
  }
  equal(seen, n);
}

const PRELUDE = `
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
def read(*names):
    for name in names:
        os.close(os.open(os.environ["P4CACHE_DEPOT"] + "/" + name, os.O_RDONLY))
def go():
    sys.stdin.readline()
def pause():
    while True:
        signal.pause()
`;

/** A program under the shim; its files are there. `go()` lets it go on, disposing kills it. */
class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor(directory: string, code: string) {
    const depot = `${directory}/depot`;
    Deno.mkdirSync(depot, { recursive: true });
    for (const [name] of code.matchAll(/\w+,v/g)) {
      Deno.writeTextFileSync(`${depot}/${name}`, "");
    }
    this.#child = new Deno.Command("/usr/bin/python3", {
      args: ["-c", PRELUDE + code],
      env: {
        LD_PRELOAD: `${SHIM}`,
        P4CACHE_DEPOT: depot,
        P4CACHE_SOCK: `${directory}/shim.sock`,
        P4CACHE_ACCESS_SOCK: `${directory}/access.sock`,
      },
      stdin: "piped",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
  }

  get pid(): number {
    return this.#child.pid;
  }

  async go(): Promise<void> {
    await this.#writer.write(new TextEncoder().encode("\n"));
  }

  async end(): Promise<Deno.CommandStatus> {
    await this.#writer.close().catch(() => {});
    return await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.end();
  }
}

const SHIM = Deno.env.get("P4CACHE_LIB") === undefined
  ? fromFileUrl("../../build/libp4shim.so", import.meta.url)
  : helperPath("libp4shim.so");

rootTest(
  "what a program left in its buffer before it fell idle is told",
  () =>
    withGate(async (gate, directory) => {
      await using program = new Program(
        directory,
        `read("a,v", "b,v", "c,v"); pause()`,
      );
      const events = new Events(gate);
      const lines = [];
      for (const path of ["a,v", "b,v", "c,v"]) lines.push(await events.takePath(path));
      deepEqual(
        lines.map(({ pid, op }) => [pid, op]),
        lines.map(() => [program.pid, "open"]),
      );
      equal(new Set(lines.map(({ id }) => id)).size, 3);
      equal(await attached(gate), 1);
      Deno.kill(program.pid, "SIGKILL");
      await untilAttached(gate, 0);
    }),
);

rootTest(
  "a program that goes on after its buffer was drained is told again",
  () =>
    withGate(async (gate, directory) => {
      await using program = new Program(
        directory,
        `
read("a,v", "b,v")
for name in ("c", "d", "e"):
    go()
    read(name + "0,v", name + "1,v")
pause()  # c0,v c1,v d0,v d1,v e0,v e1,v
`,
      );
      const events = new Events(gate);
      await events.takePath("b,v");
      for (const name of ["c", "d", "e"]) {
        await program.go();
        await events.takePath(`${name}0,v`);
        await events.takePath(`${name}1,v`);
      }
      equal(await attached(gate), 1, "the same one");
    }),
);

rootTest(
  "parent and child of a fork each leave their own events",
  () =>
    withGate(async (gate, directory) => {
      await using program = new Program(
        directory,
        `
read("a,v", "b,v")
go()
child = os.fork()
if child == 0:
    read("c,v", "d,v")
    pause()
read("e,v", "f,v")
go()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
go()
`,
      );
      const events = new Events(gate);
      await untilAttached(gate, 1);
      await program.go();
      const pidOf = async (path: string): Promise<number> =>
        (await events.takePath(path)).pid;
      const child = await pidOf("d,v");
      ok(child !== program.pid);
      equal(await pidOf("c,v"), child);
      for (const path of ["a,v", "b,v", "e,v", "f,v"]) {
        equal(await pidOf(path), program.pid, path);
      }
      equal(await attached(gate), 2);
      await program.go();
      await untilAttached(gate, 1);
      await program.go();
      ok((await program.end()).success);
      await untilAttached(gate, 0);
    }),
);

/** How a program ends or becomes another, past the shim's hooks or by them. */
const ENDS: Readonly<Record<string, string>> = {
  "exit": `sys.exit(0)`,
  "exit_group that the shim does not see": `libc.syscall(231, 0)`,
  "SIGKILL": `os.kill(os.getpid(), signal.SIGKILL)`,
  "a fault": `import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
ctypes.string_at(0)`,
  "exec": `os.execv("/bin/sleep", ["sleep", "infinity"])`,
  "exec that the shim does not see": `
name = ctypes.c_char_p(b"/bin/sleep")
argv = (ctypes.c_char_p * 3)(b"sleep", b"infinity", None)
libc.syscall(59, name, argv, None)`,
};

for (const [name, code] of Object.entries(ENDS)) {
  if (code.includes("syscall") && Deno.build.arch !== "x86_64") {
    // deno-lint-ignore no-console -- a skip says why
    console.log(`skipped: ${name}: the numbers of system calls are those of x86-64`);
    continue;
  }
  rootTest(
    `what was in the buffer at the end is told, and it is let go: ${name}`,
    () =>
      withGate(async (gate, directory) => {
        await using program = new Program(
          directory,
          `read("a,v", "b,v")\ngo()\nread("c,v", "d,v")\n${code}\n`,
        );
        const events = new Events(gate);
        await untilAttached(gate, 1);
        await program.go();
        for (const path of ["a,v", "b,v", "c,v", "d,v"]) {
          equal((await events.takePath(path)).pid, program.pid);
        }
        await untilAttached(gate, 0);
      }),
  );
}

rootTest(
  "five hundred idle programs are all told, and all let go",
  () =>
    withGate(async (gate, directory) => {
      const total = 500;
      await using program = new Program(
        directory,
        `
children = []
while len(children) < ${total}:
    go()
    child = os.fork()
    if child == 0:
        read("a,v", "b,v", "c,v")
        pause()
    children.append(child)
go()
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)
pause()
`,
      );
      const events = new Events(gate);
      const pids = [];
      for (let i = 0; i < total; i++) {
        // One after the other: access.sock holds few datagrams.
        await program.go();
        pids.push((await events.takePath("a,v")).pid);
      }
      for (const pid of pids) {
        const isOf = (path: string) => (line: AccessLine): boolean =>
          line.pid === pid && line.path === path;
        await events.take(isOf("b,v"));
        await events.take(isOf("c,v"));
      }
      equal(await attached(gate), total);
      await program.go();
      await untilAttached(gate, 0);
    }),
);

rootTest(
  "a gate that starts anew is given the buffer again",
  () =>
    withDirectory(async (directory) => {
      await using first = startGate(directory);
      await first.takeKind("ready");
      await using program = new Program(
        directory,
        `read("a,v", "b,v")\ngo()\nread("c,v")\ngo()\nread("d,v", "e,v")\npause()`,
      );
      await new Events(first).takePath("b,v");
      equal(await first.end(), 0);
      await using next = startGate(directory);
      await next.takeKind("ready");
      const events = new Events(next);
      await program.go();
      await events.takePath("c,v");
      await untilAttached(next, 1);
      await program.go();
      await events.takePath("e,v");
    }),
);

rootTest(
  "a gate of another user than the program's is given the buffer",
  () =>
    withDirectory(async (directory) => {
      const identity = [`--reuid=${NOBODY_UID}`, `--regid=${NOBODY_UID}`];
      const around = ["setpriv", ...identity, "--clear-groups"];
      await using gate = startGate(directory, 4_096, around);
      await gate.takeKind("ready");
      await using _program = new Program(directory, `read("a,v", "b,v")\npause()`);
      await new Events(gate).takePath("b,v");
      equal(await attached(gate), 1);
    }),
);

rootTest(
  "full buffers all come whole after a daemon's pause",
  () =>
    withGate(async (gate, directory) => {
      const total = 100;
      const resume = gate.pause();
      await using peer = hostile(directory, "full", String(total));
      await peer.number();
      await untilAttached(gate, total);
      resume();
      const seen = new Set<string>();
      while (seen.size < total) {
        const data = (await gate.takeKind("access")).data as string;
        equal(data.length, 32 * 1024 - 24);
        const end = data.indexOf("\n");
        ok(/^\xff+\n$/.test(data.slice(end + 1)));
        seen.add((JSON.parse(data.slice(0, end)) as AccessLine).path);
      }
    }),
);

rootTest(
  "a user that is not allowed any more is let go unread",
  () =>
    withGate(async (gate, directory) => {
      await using program = new Program(
        directory,
        `read("a,v")\ngo()\nread("b,v")\npause()`,
      );
      await untilAttached(gate, 1);
      await gate.send({ t: "allow", uids: [NOBODY_UID] });
      await program.go();
      await untilAttached(gate, 0);
      await gate.take((message) =>
        message.t === "count" && message.name === "access_rejected"
      );
    }),
);

// ---- peers that mean harm ----

rootTest(
  "announcements that are none are counted, and read no further",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "malformed");
      await takeCount(gate, "access_rejected", await peer.number());
      equal(await attached(gate), 0);
      equal(gate.untaken.length, 0);
    }),
);

rootTest(
  "segments of another size, or of another user, are not read",
  () =>
    withGate(async (gate, directory) => {
      await using sizes = hostile(directory, "sizes");
      await takeCount(gate, "access_rejected", await sizes.number());
      await using owner = hostileAs(NOBODY_UID, directory, "secret");
      await using liar = hostile(directory, "announce", String(await owner.number()));
      await takeCount(gate, "access_rejected", await liar.number());
      equal(await attached(gate), 0);
      await owner.end();
      equal(gate.untaken.length, 0, "nothing of it was told");
    }),
);

rootTest(
  "a buffer that is locked for ever is told once its owner has ended",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "locked");
      await peer.number();
      await untilAttached(gate, 1);
      await peer.end();
      equal((await new Events(gate).takePath("locked")).op, "hostile");
      await untilAttached(gate, 0);
    }),
);

for (const name of ["punched", "future", "past", "overlong"]) {
  rootTest(
    `a buffer with lies in its head harms nobody: ${name}`,
    () =>
      withGate(async (gate, directory) => {
        await using _peer = hostile(directory, name);
        equal((await new Events(gate).takePath(name)).op, "hostile");
      }),
  );
}

rootTest(
  "a buffer whose memory fails is let go, and the others are served",
  () =>
    withGate(async (gate, directory) => {
      await using broken = hostile(directory, "unreserved");
      await broken.number();
      await takeCount(gate, "access_dropped", 1);
      await untilAttached(gate, 0);
      await using _sound = hostile(directory, "past");
      await new Events(gate).takePath("past");
    }),
);

rootTest(
  "scribbling all the time neither ends the gate nor holds it up",
  () =>
    withGate(async (gate, directory) => {
      await using scribbler = hostile(directory, "scribbler");
      await scribbler.number();
      await untilAttached(gate, 1);
      for (const name of ["past", "future", "overlong"]) {
        await using _peer = hostile(directory, name);
        const isFrom = (message: Message): boolean =>
          message.t === "access" && (message.data as string).includes(`"path":"${name}"`);
        await gate.take(isFrom);
      }
      await scribbler.end();
      await untilAttached(gate, 0);
    }),
);

rootTest(
  "a buffer announced a thousand times is attached once, and let go",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "repeated");
      await peer.number();
      equal(await attached(gate), 1);
      await peer.end();
      await untilAttached(gate, 0);
    }),
);

rootTest(
  "segments removed in the midst of their announcement leave nothing",
  () =>
    withGate(async (gate, directory) => {
      await using peer = hostile(directory, "removed");
      await peer.number();
      await untilAttached(gate, 0);
      await using _sound = hostile(directory, "past");
      await new Events(gate).takePath("past");
    }),
);

rootTest(
  "past the bound buffers are refused and counted, and taken when there is room",
  () =>
    withGate(async (gate, directory) => {
      await using many = hostile(directory, "many", "7");
      await many.number();
      await takeCount(gate, "access_dropped", 3);
      equal(await attached(gate), 4);
      await many.end();
      await untilAttached(gate, 0);
      await using again = hostile(directory, "many", "4");
      await again.number();
      await untilAttached(gate, 4);
    }, 4),
);
