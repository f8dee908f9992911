/**
 * The gate as the daemon opens it: the driver and the real helper together.
 *
 * @module
 */

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { bytePathOf, bytesOf, textOfBytes } from "../../src/core/names.ts";
import {
  type Gate,
  GateError,
  type GateMessage,
  type GateOptions,
  openGate,
} from "../../src/gate/gate.ts";
import { encodeShimRequest } from "../../src/wire/shim_protocol.ts";
import { NOBODY_UID, runAs, withDirectory } from "./files.ts";
import { helperPath, scriptFor } from "./helper_scripts.ts";
import { RawHelper, rootTest } from "./raw_helper.ts";

const HELPER = "p4-cache-gate";

function optionsFor(directory: string, more: Partial<GateOptions> = {}): GateOptions {
  return {
    helperPath: helperPath(HELPER),
    shimSock: bytePathOf(`${directory}/shim.sock`),
    accessSock: bytePathOf(`${directory}/access.sock`),
    socketMode: 0o666,
    allowUids: [0],
    requestsMax: 1_024,
    ...more,
  };
}

async function withGate(
  run: (gate: Gate, directory: string) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    const gate = await openGate(optionsFor(directory));
    try {
      await run(gate, directory);
    } finally {
      await gate.close();
    }
  });
}

/** All that the gate answers to one request, until it closes. */
async function ask(path: string, line: string): Promise<string> {
  const connection = await Deno.connect({ transport: "unix", path });
  let answer = "";
  try {
    await connection.write(bytesOf(`${line}\n`));
    const buffer = new Uint8Array(16_384);
    for (let n = await connection.read(buffer); n !== null;) {
      answer += textOfBytes(buffer.subarray(0, n));
      n = await connection.read(buffer);
    }
  } finally {
    connection.close();
  }
  return answer;
}

async function take(gate: Gate): Promise<GateMessage> {
  for await (const message of gate) return message;
  throw new Error("the gate ended");
}

async function takeRequest(gate: Gate): Promise<Extract<GateMessage, { t: "req" }>> {
  const message = await take(gate);
  ok(message.t === "req", JSON.stringify(message));
  return message;
}

rootTest(
  "a request comes typed with its bytes, and its lines go back",
  () =>
    withGate(async (gate, directory) => {
      const asking = ask(
        `${directory}/shim.sock`,
        encodeShimRequest("FETCH", "d/\xe9\xff,v"),
      );
      const { id, ...request } = await takeRequest(gate);
      deepEqual(request, {
        t: "req",
        op: "FETCH",
        path: "d/\xe9\xff,v",
        uid: 0,
        gid: 0,
        pid: Deno.pid,
      });
      gate.wait(id, "WAIT 1 2");
      gate.reply(id, "ERR CORRUPT d/\xe9,v\nis not \u20ac");
      // The first may be read alone, or both at once.
      equal(await asking, "WAIT 1 2\nERR CORRUPT d/\xe9,v is not \xe2\x82\xac\n");
    }),
);

rootTest(
  "answers that were given before close() are delivered",
  () =>
    withDirectory(async (directory) => {
      const gate = await openGate(optionsFor(directory));
      const asking = Array.from(
        { length: 200 },
        (_, i) => ask(`${directory}/shim.sock`, encodeShimRequest("STAT", `${i},v`)),
      );
      const requests = [];
      for (let i = 0; i < asking.length; i++) requests.push(await takeRequest(gate));
      for (const { id, path } of requests) gate.reply(id, `OK ${parseInt(path)}`);
      await gate.close();
      deepEqual(await Promise.all(asking), asking.map((_, i) => `OK ${i}\n`));
      for (const name of ["shim.sock", "access.sock"]) {
        await rejects(Deno.lstat(`${directory}/${name}`), Deno.errors.NotFound);
      }
    }),
);

rootTest(
  "who may ask is changed while it runs",
  () =>
    withGate(async (gate, directory) => {
      const askAsNobody = (): Promise<string> =>
        runAs(
          NOBODY_UID,
          'printf "P4CACHE/1 STAT a,v\\n" | timeout 60 python3 -c "$2" "$1"',
          `${directory}/shim.sock`,
          "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); " +
            "s.sendall(sys.stdin.buffer.read()); print(s.makefile().read(), end='')",
        );
      equal((await askAsNobody()).split(" ", 2).join(" "), "ERR DENIED");
      deepEqual(await take(gate), { t: "count", name: "rejected_peer", n: 1 });
      gate.allow([NOBODY_UID]);
      // The daemon's commands are obeyed in order: once this peer is denied, the list is the new one.
      for (;;) {
        const asking = ask(`${directory}/shim.sock`, encodeShimRequest("STAT", "b,v"));
        const message = await take(gate);
        if (message.t === "req") gate.reply(message.id, "OK 1");
        if ((await asking).startsWith("ERR DENIED")) break;
      }
      const asking = askAsNobody();
      let message = await take(gate);
      if (message.t === "count") message = await take(gate);
      ok(message.t === "req" && message.uid === NOBODY_UID, JSON.stringify(message));
      gate.reply(message.id, "OK 7");
      equal(await asking, "OK 7\n");
    }),
);

rootTest(
  "sockets in a directory of any length are bound, with their mode",
  () =>
    withDirectory(async (directory) => {
      const deep = `${directory}/${"d".repeat(200)}/${"e".repeat(200)}`;
      await Deno.mkdir(deep, { recursive: true });
      const gate = await openGate(optionsFor(deep, { socketMode: 0o620 }));
      try {
        for (const name of ["shim.sock", "access.sock"]) {
          const { isSocket, mode } = await Deno.lstat(`${deep}/${name}`);
          deepEqual([isSocket, mode! & 0o7777], [true, 0o620]);
        }
        const names = (await Array.fromAsync(Deno.readDir(deep))).map(({ name }) => name);
        deepEqual(names.sort(), ["access.sock", "shim.sock"]);
      } finally {
        await gate.close();
      }
    }),
);

rootTest(
  "a gate that is killed is told, and the next one takes its names over",
  () =>
    withDirectory(async (directory) => {
      const script = await scriptFor(
        directory,
        HELPER,
        'echo $$ >&2; exec "$helper" "$@"',
      );
      const pid = Promise.withResolvers<number>();
      const gate = await openGate(optionsFor(directory, {
        helperPath: script,
        onStderrLine: (line) => pid.resolve(Number(line)),
      }));
      const asking = ask(`${directory}/shim.sock`, encodeShimRequest("FETCH", "a,v"));
      const { id } = await takeRequest(gate);
      Deno.kill(await pid.promise, "SIGKILL");
      await rejects(take(gate), (error: GateError) => error.fault === "died");
      equal(await asking, "");
      gate.reply(id, "OK 1");

      const next = await openGate(optionsFor(directory));
      try {
        const again = ask(`${directory}/shim.sock`, encodeShimRequest("FETCH", "a,v"));
        next.reply((await takeRequest(next)).id, "OK 2");
        equal(await again, "OK 2\n");
      } finally {
        await next.close();
        await gate.close();
      }
    }),
);

rootTest(
  "a gate that ends leaves the sockets of a later one alone",
  () =>
    withDirectory(async (directory) => {
      const first = await openGate(optionsFor(directory));
      const second = await openGate(optionsFor(directory));
      try {
        await first.close();
        const asking = ask(`${directory}/shim.sock`, encodeShimRequest("STAT", "a,v"));
        second.reply((await takeRequest(second)).id, "OK 3");
        equal(await asking, "OK 3\n");
      } finally {
        await second.close();
      }
    }),
);

rootTest("a gate that cannot bind says why", () =>
  withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/shim.sock`, "mine");
    const refused = (code: string) => (error: unknown): true => {
      ok(error instanceof GateError, String(error));
      deepEqual([error.fault, error.code], ["refused", code]);
      return true;
    };
    await rejects(openGate(optionsFor(directory)), refused("EEXIST"));
    equal(await Deno.readTextFile(`${directory}/shim.sock`), "mine");
    await rejects(openGate(optionsFor(`${directory}/missing`)), refused("ENOENT"));
    const shimSock = bytePathOf(`${directory}/${"s".repeat(104)}`);
    await rejects(openGate(optionsFor(directory, { shimSock })), refused("ENAMETOOLONG"));
  }));

for (const name of ["p4-cache-gate", "p4-cache-fanotify"]) {
  rootTest(
    `${name} keeps no descriptor of who starts it but its three pipes`,
    () =>
      withDirectory(async (directory) => {
        await Deno.mkdir(`${directory}/depot`);
        const secret = `${directory}/secret`;
        await Deno.writeTextFile(secret, "");
        const args = name === "p4-cache-gate"
          ? [
            ...["--shim-sock", `${directory}/s`, "--access-sock", `${directory}/a`],
            ...["--allow-uid", "0"],
          ]
          : ["--root", `${directory}/depot`];
        const around = ["sh", "-c", 'exec 7<>"$0" 8<"$0"; exec "$@"', secret];
        await using helper = new RawHelper(name, args, around);
        await helper.takeKind("ready");
        // One of its own may be closed meanwhile; what it inherited would stay.
        const links = await Promise.all(
          (await Array.fromAsync(Deno.readDir(`/proc/${helper.pid}/fd`)))
            .map((fd) =>
              Deno.readLink(`/proc/${helper.pid}/fd/${fd.name}`).catch((error) => {
                if (error instanceof Deno.errors.NotFound) return "closed";
                throw error;
              })
            ),
        );
        deepEqual(links.filter((link) => link === secret), []);
        ok(links.length > 3, links.join(" "));
      }),
  );
}
