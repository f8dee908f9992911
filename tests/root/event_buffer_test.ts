/**
 * The event buffers that programs share with the gate, by the real shim: in programs that fall
 * idle, fork, run others, and end in every way.
 *
 * @module
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import {
  type AccessLine,
  attached,
  Events,
  startGate,
  untilAttached,
  withGate,
} from "./event_buffer_gate.ts";
import { NOBODY_UID, withDirectory } from "./files.ts";
import { helperPath } from "./helper_scripts.ts";
import { rootTest } from "./raw_helper.ts";

const SHIM = helperPath("libp4shim.so");

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
    Deno.statSync(SHIM); // the loader goes on without it
    Deno.mkdirSync(depot, { recursive: true });
    for (const [name] of code.matchAll(/\w+,v/g)) {
      Deno.writeTextFileSync(`${depot}/${name}`, "");
    }
    this.#child = new Deno.Command("/usr/bin/python3", {
      args: ["-c", PRELUDE + code],
      env: {
        LD_PRELOAD: SHIM,
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
