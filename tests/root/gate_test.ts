/**
 * p4-cache-gate as a program: what peers get, what the daemon is told.
 *
 * @module
 */

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { parseConfig } from "../../src/config/parse_config.ts";
import { NOBODY_UID, runAs, sh, withDirectory } from "./files.ts";
import { type Message, RawHelper, rootTest } from "./raw_helper.ts";

interface GateOptions {
  readonly requestsMax?: number;
  readonly lineTimeoutMs?: number;
  readonly allowUids?: readonly number[];
}

async function withGate(
  options: GateOptions,
  run: (gate: RawHelper, directory: string) => Promise<void>,
): Promise<void> {
  await withDirectory(async (directory) => {
    await using gate = new RawHelper("p4-cache-gate", [
      ...["--shim-sock", `${directory}/shim.sock`],
      ...["--access-sock", `${directory}/access.sock`],
      ...["--socket-mode", "0666"],
      ...["--max-requests", String(options.requestsMax ?? 1024)],
      ...["--line-timeout-ms", String(options.lineTimeoutMs ?? 60_000)],
      ...(options.allowUids ?? [0]).flatMap((uid) => ["--allow-uid", String(uid)]),
    ]);
    await gate.takeKind("ready");
    await run(gate, directory);
  });
}

/** A peer: bytes as one character each. */
class Peer implements Disposable {
  readonly #connection: Deno.UnixConn;

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  static async connect(directory: string): Promise<Peer> {
    const path = `${directory}/shim.sock`;
    return new Peer(await Deno.connect({ transport: "unix", path }));
  }

  async send(text: string): Promise<void> {
    let rest = Uint8Array.from(text, (c) => c.charCodeAt(0));
    while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
  }

  /** All until the gate closes. */
  async readAll(): Promise<string> {
    const bytes = await new Response(this.#connection.readable).bytes();
    return String.fromCharCode(...bytes);
  }

  async readSome(): Promise<string> {
    const buffer = new Uint8Array(1024);
    const count = await this.#connection.read(buffer);
    return count === null ? "" : String.fromCharCode(...buffer.subarray(0, count));
  }

  [Symbol.dispose](): void {
    try {
      this.#connection.close();
    } catch (error) {
      // readAll() has closed it at the end of the stream.
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }
}

async function ask(directory: string, bytes: string): Promise<string> {
  using peer = await Peer.connect(directory);
  await peer.send(bytes);
  return await peer.readAll();
}

function isCount(name: string): (message: Message) => boolean {
  return (message) => message.t === "count" && message.name === name;
}

rootTest(
  "the gate hands over a request with its peer, and gives back the lines",
  () =>
    withGate({}, async (gate, directory) => {
      using peer = await Peer.connect(directory);
      await peer.send("P4CACHE/1 FETCH depot/a,v\n");
      const request = await gate.takeKind("req");
      const { id, ...rest } = request;
      equal(typeof id, "number");
      const expected = { t: "req", op: "FETCH", path: "depot/a,v", uid: 0, gid: 0 };
      equal(
        JSON.stringify({ ...rest, pid: 0 }),
        JSON.stringify({ ...expected, pid: 0 }),
      );
      equal(rest.pid, Deno.pid);
      await gate.send({ t: "line", id, line: "WAIT 10 100" });
      equal(await peer.readSome(), "WAIT 10 100\n");
      await gate.send({ t: "last", id, line: "OK 100" });
      equal(await peer.readAll(), "OK 100\n");
      equal(gate.untaken.length, 0, 'a peer that left after its answer is not "gone"');
    }),
);

rootTest(
  "an operator's command reaches the daemon unread, and only with a version and in braces",
  () =>
    withGate({}, async (gate, directory) => {
      using peer = await Peer.connect(directory);
      await peer.send('P4CACHE/1 CONTROL {"op":"evict","path":"\xe9/../x"}\n');
      const { id, op, path } = await gate.takeKind("req");
      equal(op, "CONTROL");
      equal(path, '{"op":"evict","path":"\xe9/../x"}');
      await gate.send({ t: "last", id, line: "OK {}" });
      equal(await peer.readAll(), "OK {}\n");
      const bad = ['CONTROL {"op":1}', "P4CACHE/1 CONTROL {", "P4CACHE/1 CONTROL a,v"];
      for (const line of bad) {
        match(await ask(directory, `${line}\n`), /^ERR BADREQ /);
      }
    }),
);

rootTest(
  "a user who may ask for files may not give an operator's commands",
  () =>
    withGate({ allowUids: [0, NOBODY_UID] }, async (gate, directory) => {
      const client = `python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1] + "/shim.sock")
s.sendall(b"P4CACHE/1 CONTROL {}\\n")
print(s.recv(4096).decode(), end="")
' "$1"`;
      match(await runAs(NOBODY_UID, client, directory), /^ERR DENIED only root and /);
      await gate.take(isCount("rejected_peer"));
    }),
);

rootTest(
  "a name of every byte that a name may have, but LF, reaches the daemon as it was",
  () =>
    withGate({}, async (gate, directory) => {
      const all = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte))
        .filter((c) => !"\0\n/".includes(c)).join("");
      using peer = await Peer.connect(directory);
      await peer.send(`P4CACHE/1 STAT ${all}\n`);
      const request = await gate.takeKind("req");
      equal(request.path, all);
      match(gate.raw.at(-1)!, /^[\x20-\x7e]+$/);
      await gate.sendText(
        `{"t":"last","id":${request.id},"line":"ERR NOTFOUND \\u00e9\\"\\\\"}\n`,
      );
      equal(await peer.readAll(), 'ERR NOTFOUND \xe9"\\\n');
    }),
);

rootTest(
  "lines that are no requests are answered by the gate and counted",
  () =>
    withGate({}, async (gate, directory) => {
      const bad = [
        "P4CACHE/2 FETCH a,v",
        "P4CACHE/1 READ a,v",
        "P4CACHE/1 FETCH",
        "P4CACHE/1 FETCH ",
        "P4CACHE/1 FETCH /etc/shadow",
        "P4CACHE/1 FETCH a/../b",
        "P4CACHE/1 FETCH ..",
        "P4CACHE/1 FETCH a//b",
        "P4CACHE/1 FETCH a/",
        "P4CACHE/1 FETCH ./a",
        "P4CACHE/1 FETCH a\0b",
        "P4CACHE/1 fetch a",
        "P4CACHE/1  FETCH a",
        "",
        "GET / HTTP/1.1\r",
        "\xff\xfe\x00\x01",
      ];
      for (const line of bad) {
        match(
          await ask(directory, `${line}\n`),
          /^ERR BADREQ .*\n$/,
          JSON.stringify(line),
        );
      }
      for (const path of [".p4cache", ".p4cache/manifest"]) {
        match(await ask(directory, `P4CACHE/1 FETCH ${path}\n`), /^ERR RESERVED .*\n$/);
      }
      let counted = 0;
      while (counted < bad.length + 2) {
        counted += (await gate.take(isCount("bad_request"))).n as number;
      }
      equal(counted, bad.length + 2);
      equal(gate.raw.filter((line) => line.includes('"req"')).length, 0);
    }),
);

rootTest(
  "a line without the version is accepted and counted",
  () =>
    withGate({}, async (gate, directory) => {
      using peer = await Peer.connect(directory);
      await peer.send("DELETE a,v\n");
      const request = await gate.takeKind("req");
      equal(request.op, "DELETE");
      equal((await gate.take(isCount("legacy_unprefixed"))).n, 1);
      await gate.send({ t: "last", id: request.id, line: "OK 0" });
      equal(await peer.readAll(), "OK 0\n");
    }),
);

rootTest(
  "a line may have 4,608 bytes and no more",
  () =>
    withGate({}, async (gate, directory) => {
      const head = "P4CACHE/1 FETCH ";
      using peer = await Peer.connect(directory);
      const longest = "x".repeat(4608 - head.length - 1);
      await peer.send(`${head}${longest}\n`);
      const request = await gate.takeKind("req");
      equal(request.path, longest);
      match(await ask(directory, `${head}${longest}x\n`), /^ERR BADREQ /);
      await gate.send({ t: "last", id: request.id, line: "ERR NOTFOUND -" });
      await peer.readAll();
    }),
);

rootTest(
  "a line that is not complete in time is closed, whatever the peer does",
  () =>
    withGate({ lineTimeoutMs: 50 }, async (gate, directory) => {
      equal(await ask(directory, "P4CACHE/1 FETCH half"), "");
      equal(await ask(directory, ""), "");
      let counted = 0;
      while (counted < 2) counted += (await gate.take(isCount("timeout"))).n as number;
      equal(counted, 2);
      // A request that is complete has all the time it needs.
      using peer = await Peer.connect(directory);
      await peer.send("P4CACHE/1 FETCH a,v\n");
      const { id } = await gate.takeKind("req");
      equal(await ask(directory, "P4CACHE/1 FETCH half"), "");
      await gate.send({ t: "last", id, line: "OK 1" });
      equal(await peer.readAll(), "OK 1\n");
    }),
);

rootTest(
  "a line sent byte by byte is one line",
  () =>
    withGate({}, async (gate, directory) => {
      using peer = await Peer.connect(directory);
      for (const c of "P4CACHE/1 STAT d/x,v\n") await peer.send(c);
      const request = await gate.takeKind("req");
      equal(request.path, "d/x,v");
      await gate.send({ t: "last", id: request.id, line: "ERR NOTFOUND -" });
      equal(await peer.readAll(), "ERR NOTFOUND -\n");
    }),
);

rootTest(
  "a user that is not allowed is denied, and allowed once the daemon says so",
  () =>
    withGate({}, async (gate, directory) => {
      const client = `python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1] + "/shim.sock")
s.sendall(b"P4CACHE/1 FETCH a,v\\n")
sys.stdout.write(s.makefile().read())
' "$1"`;
      match(await runAs(NOBODY_UID, client, directory), /^ERR DENIED .*\n$/);
      equal((await gate.take(isCount("rejected_peer"))).n, 1);
      equal(gate.untaken.length, 0);
      await gate.send({ t: "allow", uids: [0, NOBODY_UID] });
      const asking = runAs(NOBODY_UID, client, directory);
      const request = await gate.takeKind("req");
      equal(request.uid, NOBODY_UID);
      equal(request.gid, NOBODY_UID);
      await gate.send({ t: "last", id: request.id, line: "OK 7" });
      equal(await asking, "OK 7\n");
      await gate.send({ t: "allow", uids: [] });
      match(await ask(directory, "P4CACHE/1 FETCH a,v\n"), /^ERR DENIED /);
    }),
);

rootTest(
  "a peer that leaves is told once, and a late answer to it hurts nobody",
  () =>
    withGate({}, async (gate, directory) => {
      const peer = await Peer.connect(directory);
      await peer.send("P4CACHE/1 FETCH a,v\n");
      const { id } = await gate.takeKind("req");
      peer[Symbol.dispose]();
      equal((await gate.takeKind("gone")).id, id);
      using next = await Peer.connect(directory);
      await next.send("P4CACHE/1 FETCH b,v\n");
      const request = await gate.takeKind("req");
      await gate.send({ t: "last", id, line: "OK 666" });
      await gate.send({ t: "last", id: request.id, line: "OK 2" });
      equal(await next.readAll(), "OK 2\n");
    }),
);

/** Whichever comes first: what `peer` is told, or its request with the daemon. */
function toldOrHandedOver(peer: Peer, request: Promise<Message>): Promise<string> {
  return Promise.race([peer.readSome(), request.then(() => "handed over")]);
}

rootTest(
  "a FETCH whose peer has left keeps its place until the daemon's last line",
  () =>
    withGate({ requestsMax: 4 }, async (gate, directory) => {
      const gone: unknown[] = [];
      for (let i = 0; i < 3; i++) {
        const peer = await Peer.connect(directory);
        await peer.send("P4CACHE/1 FETCH a,v\n");
        await gate.takeKind("req");
        peer[Symbol.dispose]();
        gone.push((await gate.takeKind("gone")).id);
      }
      using next = await Peer.connect(directory);
      const asking = gate.takeKind("req");
      await next.send("P4CACHE/1 FETCH b,v\n");
      equal(await toldOrHandedOver(next, asking), "WAIT 0 0\n");
      await gate.send({ t: "line", id: gone[0], line: "WAIT 1 2" });
      await gate.send({ t: "last", id: gone[0], line: "OK 1" });
      const request = await asking;
      equal(request.path, "b,v");
      // A second last line of the same request frees no second place.
      await gate.send({ t: "last", id: gone[0], line: "OK 1" });
      using another = await Peer.connect(directory);
      const askingAgain = gate.takeKind("req");
      await another.send("P4CACHE/1 FETCH c,v\n");
      equal(await toldOrHandedOver(another, askingAgain), "WAIT 0 0\n");
      await gate.send({ t: "last", id: request.id, line: "OK 2" });
      match(await next.readAll(), /^(WAIT 0 0\n)*OK 2\n$/);
      const { id, path } = await askingAgain;
      equal(path, "c,v");
      await gate.send({ t: "last", id, line: "OK 3" });
      match(await another.readAll(), /^(WAIT 0 0\n)*OK 3\n$/);
    }),
);

rootTest(
  "of connections those count whose peer has left while the daemon works, and another user is heard",
  () =>
    withGate({ requestsMax: 4, allowUids: [0, NOBODY_UID] }, async (gate, directory) => {
      const gone: unknown[] = [];
      // Of 136 connections one user has 102.
      for (let i = 0; i < 102; i++) {
        const peer = await Peer.connect(directory);
        await peer.send("P4CACHE/1 STAT a,v\n");
        await gate.takeKind("req");
        peer[Symbol.dispose]();
        gone.push((await gate.takeKind("gone")).id);
      }
      using refused = await Peer.connect(directory);
      const asking = gate.takeKind("req");
      await refused.send("P4CACHE/1 STAT a,v\n");
      match(await toldOrHandedOver(refused, asking), /^ERR BUSY /);
      const others = peersOf(NOBODY_UID, directory, ["P4CACHE/1 STAT b,v\n"]);
      const request = await asking;
      equal(request.uid, NOBODY_UID);
      await gate.send({ t: "last", id: request.id, line: "OK 1" });
      deepEqual(await others, ["OK 1\n"]);
      await gate.send({ t: "last", id: gone[0], line: "OK 1" });
      const again = ask(directory, "P4CACHE/1 STAT a,v\n");
      await serve(gate, 1);
      equal(await again, "OK 1\n");
    }),
);

rootTest(
  "a peer that stopped reading for a while is told again that it waits, once it reads",
  () =>
    withGate({}, async (gate, directory) => {
      using peer = await Peer.connect(directory);
      await peer.send("P4CACHE/1 FETCH a,v\n");
      const { id } = await gate.takeKind("req");
      // More than the socket holds: one line is left half sent.
      const long = `WAIT 1 1 ${"x".repeat(4000)}`;
      for (let i = 0; i < 400; i++) await gate.send({ t: "line", id, line: long });
      const afterThem = ask(directory, "P4CACHE/1 STAT b,v\n");
      await serve(gate, 1);
      await afterThem;
      let read = "";
      while (read.length < 20 * long.length) read += await peer.readSome();
      await gate.send({ t: "line", id, line: "WAIT 7 7" });
      await gate.send({ t: "last", id, line: "OK 7" });
      const rest = await peer.readAll();
      ok(rest.endsWith("\nWAIT 7 7\nOK 7\n"), rest.slice(-100));
    }),
);

rootTest(
  "past the bound FETCHes wait, are told so, and each is served when one ends",
  () =>
    withGate({ requestsMax: 16 }, async (gate, directory) => {
      const peers = await Promise.all(
        Array.from({ length: 20 }, () => Peer.connect(directory)),
      );
      await Promise.all(
        peers.map((peer, i) => peer.send(`P4CACHE/1 FETCH f${i},v\n`)),
      );
      const active: Message[] = [];
      for (let i = 0; i < 12; i++) active.push(await gate.takeKind("req"));
      const paths = active.map(({ path }) => path);
      const waiting = peers.filter((_, i) => !paths.includes(`f${i},v`));
      for (const peer of waiting) equal(await peer.readSome(), "WAIT 0 0\n");
      const answers = peers.map((peer) => peer.readAll());
      for (let served = 0; served < peers.length; served++) {
        equal(
          gate.untaken.length,
          0,
          "no more than twelve of a user are with the daemon",
        );
        const request = active.shift()!;
        await gate.send({ t: "last", id: request.id, line: `OK ${request.path}` });
        if (served + 12 < peers.length) active.push(await gate.takeKind("req"));
      }
      const read = await Promise.all(answers);
      for (const [i, text] of read.entries()) {
        match(text, new RegExp(`^(WAIT 0 0\n)*OK f${i},v\n$`));
      }
      for (const peer of peers) peer[Symbol.dispose]();
    }),
);

/** A user's connections, each with its line; what each got is told when the last has it. */
function peersOf(
  uid: number,
  directory: string,
  lines: readonly string[],
): Promise<string[]> {
  const client = `python3 -c '
import json, socket, sys
peers = []
for line in sys.argv[2:]:
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1] + "/shim.sock")
    s.sendall(line.encode())
    peers.append(s)
print(json.dumps([s.makefile().read() for s in peers]))
' "$@"`;
  return runAs(uid, client, directory, ...lines).then((text) => JSON.parse(text));
}

rootTest(
  "what waits for no store is with the daemon at once, however many FETCHes of its user wait",
  () =>
    withGate({ requestsMax: 1 }, async (gate, directory) => {
      using first = await Peer.connect(directory);
      await first.send("P4CACHE/1 FETCH a,v\n");
      const { id } = await gate.takeKind("req");
      using second = await Peer.connect(directory);
      await second.send("P4CACHE/1 FETCH b,v\n");
      equal(await second.readSome(), "WAIT 0 0\n");
      for (const line of ["STAT a,v", "DELETE c,v", "CONTROL {}"]) {
        const asking = ask(directory, `P4CACHE/1 ${line}\n`);
        const request = await gate.takeKind("req");
        equal(`${request.op} ${request.path}`, line);
        await gate.send({ t: "last", id: request.id, line: "OK 1" });
        equal(await asking, "OK 1\n");
      }
      // Told again while it waits, as long as it does.
      equal(await second.readSome(), "WAIT 0 0\n");
      equal(await second.readSome(), "WAIT 0 0\n");
      await gate.send({ t: "last", id, line: "OK 1" });
      equal(await first.readAll(), "OK 1\n");
      const request = await gate.takeKind("req");
      equal(request.path, "b,v");
      await gate.send({ t: "last", id: request.id, line: "OK 2" });
      match(await second.readAll(), /^(WAIT 0 0\n)*OK 2\n$/);
    }),
);

rootTest(
  "a user who asks for everything leaves places to another, and both are served in turn",
  () =>
    withGate({ requestsMax: 16, allowUids: [0, NOBODY_UID] }, async (gate, directory) => {
      const fetches = Array.from({ length: 20 }, (_, i) => `P4CACHE/1 FETCH f${i},v\n`);
      const greedy = peersOf(NOBODY_UID, directory, [...fetches, "P4CACHE/1 STAT a,v\n"]);
      const active: Message[] = [];
      for (let i = 0; i < 12; i++) active.push(await gate.takeKind("req"));
      // What came before it is in.
      const { id } = await gate.take(({ op }) => op === "STAT");
      await gate.send({ t: "last", id, line: "OK 1" });
      const modest: Peer[] = [];
      for (const line of fetches.slice(0, 7)) {
        const peer = await Peer.connect(directory);
        await peer.send(line);
        if (modest.push(peer) > 4) equal(await peer.readSome(), "WAIT 0 0\n");
        else active.push(await gate.takeKind("req"));
      }
      deepEqual(active.slice(12).map(({ uid }) => uid), [0, 0, 0, 0]);
      const turns: unknown[] = [];
      for (let i = 0; i < 6; i++) {
        await gate.send({ t: "last", id: active[i]!.id, line: "OK 1" });
        active.push(await gate.takeKind("req"));
        turns.push(active.at(-1)!.uid);
      }
      deepEqual(turns, [NOBODY_UID, 0, NOBODY_UID, 0, NOBODY_UID, 0]);
      for (const it of active.slice(6)) {
        await gate.send({ t: "last", id: it.id, line: "OK 1" });
      }
      await serve(gate, 20 + 7 - active.length);
      const answers = await greedy;
      for (const peer of modest) answers.push(await peer.readAll());
      equal(answers.length, 28);
      for (const text of answers) match(text, /^(WAIT 0 0\n)*OK 1\n$/);
    }),
);

/** Answers the next `count` requests. */
async function serve(gate: RawHelper, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { id } = await gate.takeKind("req");
    await gate.send({ t: "last", id, line: "OK 1" });
  }
}

rootTest(
  "of FETCHes that wait, and of connections, one user has three quarters, and is told BUSY then",
  () =>
    withGate({ requestsMax: 4, allowUids: [0, NOBODY_UID] }, async (gate, directory) => {
      const fetches = await Promise.all(
        Array.from({ length: 6 }, () => Peer.connect(directory)),
      );
      for (const peer of fetches) await peer.send("P4CACHE/1 FETCH a,v\n");
      for (let i = 0; i < 3; i++) await gate.takeKind("req");
      for (const peer of fetches.slice(3)) equal(await peer.readSome(), "WAIT 0 0\n");
      match(await ask(directory, "P4CACHE/1 FETCH a,v\n"), /^ERR BUSY /);
      // Of 136 connections: 6 are there.
      const idle: Peer[] = [];
      for (let i = 6; i < 102; i++) idle.push(await Peer.connect(directory));
      match(await ask(directory, "P4CACHE/1 STAT a,v\n"), /^ERR BUSY /);
      const others = peersOf(NOBODY_UID, directory, [
        "P4CACHE/1 FETCH b,v\n",
        "P4CACHE/1 STAT b,v\n",
      ]);
      await serve(gate, 2);
      const answers = await others;
      match(answers[0]!, /^(WAIT 0 0\n)?OK 1\n$/);
      equal(answers[1], "OK 1\n");
      for (const peer of [...fetches, ...idle]) peer[Symbol.dispose]();
    }),
);

rootTest(
  "one that leaves while it waits is forgotten, and nobody behind it",
  () =>
    withGate({ requestsMax: 1 }, async (gate, directory) => {
      const answers: Promise<string>[] = [];
      const peers: Peer[] = [];
      for (const name of ["0,v", "1,v"]) {
        peers.push(await Peer.connect(directory));
        await peers.at(-1)!.send(`P4CACHE/1 FETCH ${name}\n`);
      }
      equal(await peers[1]!.readSome(), "WAIT 0 0\n");
      // Of one user two FETCHes may be there: the third is BUSY until the second has left.
      match(await ask(directory, "P4CACHE/1 FETCH 2,v\n"), /^ERR BUSY /);
      peers[1]![Symbol.dispose]();
      let text = "";
      while (!text.startsWith("WAIT")) {
        const peer = await Peer.connect(directory);
        await peer.send("P4CACHE/1 FETCH 3,v\n");
        text = await peer.readSome();
        peers.push(peer);
      }
      answers.push(peers[0]!.readAll(), peers.at(-1)!.readAll());
      const first = await gate.takeKind("req");
      await gate.send({ t: "last", id: first.id, line: "OK 1" });
      const next = await gate.takeKind("req");
      equal(next.path, "3,v");
      await gate.send({ t: "last", id: next.id, line: "OK 3" });
      equal(await answers[0], "OK 1\n");
      match((await answers[1])!, /^(WAIT 0 0\n)*OK 3\n$/);
      equal(gate.untaken.filter(({ t }) => t === "req").length, 0);
      for (const peer of peers) peer[Symbol.dispose]();
    }),
);

rootTest(
  "a thousand peers at once each get their own answer",
  () =>
    withGate({}, async (gate, directory) => {
      const total = 1000;
      const asked = Promise.all(Array.from(
        { length: total },
        async (_, i) =>
          equal(await ask(directory, `P4CACHE/1 STAT n/${i}\n`), `OK ${i}\n`),
      ));
      for (let i = 0; i < total; i++) {
        const { id, path } = await gate.takeKind("req");
        await gate.send({ t: "last", id, line: `OK ${(path as string).slice(2)}` });
      }
      await asked;
      equal(gate.untaken.length, 0);
    }),
);

rootTest(
  "nothing is lost while the daemon does not read",
  () =>
    withGate({}, async (gate, directory) => {
      const resume = gate.pause();
      // Some 4 MB of output lines: more than the pipe and the gate's own bound hold.
      const total = 1000;
      const path = "\xff".repeat(700);
      const answers = Array.from(
        { length: total },
        (_, i) => ask(directory, `P4CACHE/1 FETCH ${i}/${path}\n`),
      );
      resume();
      const seen = new Set<string>();
      for (let i = 0; i < total; i++) {
        const request = await gate.takeKind("req");
        seen.add((request.path as string).split("/")[0]!);
        await gate.send({ t: "last", id: request.id, line: "ERR NOTFOUND -" });
      }
      equal(seen.size, total);
      for (const answer of answers) equal(await answer, "ERR NOTFOUND -\n");
    }),
);

rootTest(
  "a peer that never reads its answer does not hold up another",
  () =>
    withGate({}, async (gate, directory) => {
      using deaf = await Peer.connect(directory);
      await deaf.send("P4CACHE/1 FETCH slow,v\n");
      const slow = await gate.takeKind("req");
      for (let i = 0; i < 2000; i++) {
        await gate.send({ t: "line", id: slow.id, line: `WAIT ${i} ${"9".repeat(400)}` });
      }
      const asking = ask(directory, "P4CACHE/1 FETCH quick,v\n");
      const quick = await gate.takeKind("req");
      await gate.send({ t: "last", id: quick.id, line: "OK 1" });
      equal(await asking, "OK 1\n");
      // Progress may be left out for it, the last line may not; lines stay whole.
      await gate.send({ t: "last", id: slow.id, line: "OK 2" });
      const lines = (await deaf.readAll()).trimEnd().split("\n");
      equal(lines.pop(), "OK 2");
      for (const line of lines) match(line, /^WAIT \d+ 9{400}$/);
    }),
);

rootTest(
  "access datagrams come with the sender that the kernel names",
  () =>
    withGate({}, async (gate, directory) => {
      const send = `python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"read a\\xff\\nread b\\n", sys.argv[1] + "/access.sock")
' "$1"`;
      await sh(send, directory);
      const event = await gate.takeKind("access");
      equal(event.data, "read a\xff\nread b\n");
      equal(event.uid, 0);
      ok((event.pid as number) > 1);
      await runAs(NOBODY_UID, send, directory);
      equal((await gate.take(isCount("access_rejected"))).n, 1);
      equal(gate.untaken.length, 0);
    }),
);

rootTest(
  "of one who floods the access socket only so much is taken, and another is heard",
  () =>
    withGate({ allowUids: [0, NOBODY_UID] }, async (gate, directory) => {
      const send = `python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(sys.argv[1] + "/access.sock")
for i in range(int(sys.argv[2])):
    s.send(sys.argv[3].encode() * int(sys.argv[4]))
' "$@"`;
      // Each is more than a second's worth.
      await runAs(NOBODY_UID, send, directory, "20", "\n", "60000");
      await sh(send, directory, "1", "read a", "1");
      equal((await gate.take(({ uid }) => uid === 0)).data, "read a");
      let [taken, dropped] = [0, 0];
      while (taken + dropped < 20) {
        const message = await gate.take(() => true);
        if (message.t === "access") taken += 1;
        else if (isCount("access_dropped")(message)) dropped += message.n as number;
      }
      ok(taken > 0 && dropped > 0, `taken ${taken}, dropped ${dropped}`);
    }),
);

rootTest(
  "end of file ends the gate and takes its sockets away",
  () =>
    withDirectory(async (directory) => {
      // Longer than the 107 bytes that an address holds.
      const deep = `${directory}/${"d".repeat(100)}/${"e".repeat(100)}`;
      await Deno.mkdir(deep, { recursive: true });
      const socks = ["shim.sock", "access.sock"].map((name) => `${deep}/${name}`);
      const args = [
        ...["--shim-sock", socks[0]!, "--access-sock", socks[1]!],
        ...["--socket-mode", "0640", "--max-requests", "4", "--allow-uid", "0"],
      ];
      const gate = new RawHelper("p4-cache-gate", args);
      await gate.takeKind("ready");
      equal((await sh('stat -c %a,%F "$1"', socks[0]!)).trim(), "640,socket");
      // A gate that was killed leaves its sockets; the next one takes their place.
      Deno.kill(gate.pid, "SIGKILL");
      await gate.status();
      const next = new RawHelper("p4-cache-gate", args);
      await next.takeKind("ready");
      equal(await next.end(), 0);
      equal((await sh('ls "$1"', deep)).trim(), "");
    }),
);

rootTest(
  "a file in the socket's place is left alone and said",
  () =>
    withDirectory(async (directory) => {
      await Deno.writeTextFile(`${directory}/shim.sock`, "precious");
      const gate = new RawHelper("p4-cache-gate", [
        ...["--shim-sock", `${directory}/shim.sock`],
        ...["--access-sock", `${directory}/access.sock`],
        ...["--socket-mode", "0660", "--max-requests", "4", "--allow-uid", "0"],
      ]);
      const fatal = await gate.takeKind("fatal");
      equal(fatal.code, "EEXIST");
      match(fatal.why as string, /shim\.sock/);
      equal(await gate.status(), 1);
      equal(await Deno.readTextFile(`${directory}/shim.sock`), "precious");
    }),
);

rootTest(
  "no socket is made where a link in the place of its directory leads",
  () =>
    withDirectory(async (directory) => {
      await Deno.mkdir(`${directory}/other`);
      await Deno.symlink(`${directory}/other`, `${directory}/state`);
      const gate = new RawHelper("p4-cache-gate", [
        ...["--shim-sock", `${directory}/state/shim.sock`],
        ...["--access-sock", `${directory}/state/access.sock`],
        ...["--socket-mode", "0660", "--max-requests", "4", "--allow-uid", "0"],
      ]);
      const fatal = await gate.take(({ t }) => t === "fatal" || t === "ready");
      deepEqual([fatal.t, fatal.code], ["fatal", "ENOTDIR"]);
      equal(await gate.status(), 1);
      deepEqual(await Array.fromAsync(Deno.readDir(`${directory}/other`)), []);
    }),
);

rootTest(
  "as many requests as the configuration allows the gate takes, and neither takes one more",
  () =>
    withDirectory(async (directory) => {
      const isConfigured = (requestsMax: number): boolean =>
        "config" in parseConfig({
          depot_path: "/depot",
          primary: { type: "nfs", path: "/store" },
          shim_max_requests: requestsMax,
        }, { file: unasked, env: unasked });
      const isTaken = async (requestsMax: number): Promise<boolean> => {
        const gate = new RawHelper("p4-cache-gate", [
          ...["--shim-sock", `${directory}/shim.sock`],
          ...["--access-sock", `${directory}/access.sock`],
          ...["--max-requests", String(requestsMax), "--allow-uid", "0"],
        ]);
        const { t } = await gate.take(() => true);
        return await gate.end() === 0 && t === "ready";
      };
      for (const [requestsMax, isRight] of [[1, true], [32_768, true], [32_769, false]]) {
        const number = requestsMax as number;
        deepEqual([isConfigured(number), await isTaken(number)], [isRight, isRight]);
      }
    }),
);

function unasked(): never {
  throw new Error("nothing here is a secret");
}
