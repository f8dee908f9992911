import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  type EngineFixture,
  openEngineFixture,
} from "../../tests/support/engine_fixture.ts";
import { Engine } from "../engine/engine.ts";
import { SCAN } from "../engine/observe.ts";
import type { Gate } from "../gate/gate.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { encodeControlRequest, parseControlReply } from "../wire/control.ts";
import { ControlServer } from "./control.ts";

interface Talk {
  readonly server: ControlServer;
  readonly engine: Engine;
  readonly log: ReturnType<typeof createMemoryLogger>;
  /** Lines to the client, by id. */
  readonly lines: Map<number, string[]>;
  ask(id: number, text: string): Promise<string>;
}

function talkTo(
  fixture: EngineFixture,
  options: {
    isReadOnly?: boolean;
    isCaughtUp?: () => Promise<boolean>;
    catchUp?: (signal: AbortSignal) => Promise<boolean>;
  } = {},
): Talk {
  const lines = new Map<number, string[]>();
  const push = (id: number, line: string): void => {
    lines.set(id, [...lines.get(id) ?? [], line]);
  };
  const gate = { reply: push, wait: push } as unknown as Gate;
  const log = createMemoryLogger();
  const engine = new Engine(fixture.context);
  const server = new ControlServer({
    engine,
    manifest: fixture.manifest,
    isReadOnly: () => options.isReadOnly ?? false,
    hasSecondary: fixture.context.secondary !== null,
    status: () => Promise.resolve({ version: "1" }),
    isCaughtUp: options.isCaughtUp ?? (() => Promise.resolve(true)),
    catchUp: options.catchUp ?? (() => Promise.resolve(true)),
    clock: fixture.context.clock,
    log,
    signal: new AbortController().signal,
  });
  const ask = async (id: number, text: string): Promise<string> => {
    await server.answer(gate, { t: "control", id, text, uid: 0, pid: 9 });
    return lines.get(id)?.at(-1) ?? "";
  };
  return { server, engine, log, lines, ask };
}

Deno.test("a command that is none, or that a read_only daemon may not do, gets an error line", async () => {
  await using fixture = await openEngineFixture();
  const { ask } = talkTo(fixture, { isReadOnly: true });
  strictEqual(await ask(1, '{"op":"status"}'), 'OK {"version":"1"}');
  match(await ask(2, '{"op":"format"}'), /^ERR BADREQ /);
  match(await ask(3, "{]}"), /^ERR BADREQ /);
  const changes = [
    '{"op":"evict","selection":"","dryRun":false}',
    '{"op":"pin","selection":"","pinned":true,"dryRun":false}',
    '{"op":"accept","path":"a,v","dryRun":false}',
    '{"op":"retry","dryRun":false}',
  ];
  for (const [i, text] of changes.entries()) {
    strictEqual(await ask(10 + i, text), "ERR CONFIG this daemon is read_only");
  }
  for (const wait of [false, true]) {
    match(
      await ask(20 + Number(wait), JSON.stringify({ op: "drain", wait })),
      /^ERR CONFIG this daemon is read_only: .* cannot tell/,
    );
  }
});

Deno.test("a path that is none of the depot's is refused, and changes are on record with who asked", async () => {
  await using fixture = await openEngineFixture();
  const { ask, log } = talkTo(fixture);
  strictEqual(
    await ask(1, '{"op":"undelete","path":"../etc/passwd","dryRun":false}'),
    "ERR BADREQ that is no depot path",
  );
  await ask(2, '{"op":"status"}');
  const facts = log.records.map(({ message, fields }) => ({ message, ...fields }));
  deepStrictEqual(facts, [{
    message: "an operator's command",
    op: "undelete",
    path: "../etc/passwd",
    dryRun: false,
    uid: 0,
    pid: 9,
  }]);
});

Deno.test("nothing counts as drained of which it cannot be told at once whether all was told, be a scan whole", async () => {
  await using fixture = await openEngineFixture();
  let isCaughtUp = false;
  let waits = 0;
  const { ask, engine } = talkTo(fixture, {
    isCaughtUp: () => Promise.resolve(isCaughtUp),
    catchUp: () => {
      waits += 1;
      return Promise.resolve(false);
    },
  });
  await engine.scan(SCAN);
  await fixture.write("d/a,v", "its event was lost");
  const left = { dirtyFiles: 0, dirtyBytes: 0, retryingFiles: 0, undecidedFiles: 0 };
  const answers = async (id: number): Promise<unknown> =>
    JSON.parse((await ask(id, '{"op":"drain","wait":false}')).slice("OK ".length));
  deepStrictEqual(await answers(1), { isDrained: false, ...left, unprovenFiles: null });
  isCaughtUp = true;
  deepStrictEqual(await answers(2), { isDrained: true, ...left, unprovenFiles: 0 });
  strictEqual(waits, 0, "who does not wait is not made to");
});

Deno.test("a command whose client left is given up, and its place in the gate is free then", async () => {
  await using fixture = await openEngineFixture();
  const waiting = Promise.withResolvers<AbortSignal>();
  const { ask, server, lines } = talkTo(fixture, {
    catchUp: (signal) => {
      waiting.resolve(signal);
      return new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason))
      );
    },
  });
  const asked = ask(1, '{"op":"drain","wait":true}');
  const signal = await waiting.promise;
  server.gone(2);
  strictEqual(signal.aborted, false);
  server.gone(1);
  strictEqual(await asked, "ERR BUSY the client has left");
  deepStrictEqual(lines.get(1), ["ERR BUSY the client has left"]);
  const again = ask(3, '{"op":"drain","wait":true}');
  server.allGone();
  strictEqual(await again, "ERR BUSY the client has left");
});

Deno.test("more commands than may run at a time are told to come again", async () => {
  await using fixture = await openEngineFixture();
  const open = Promise.withResolvers<boolean>();
  const { ask } = talkTo(fixture, { catchUp: () => open.promise });
  const asked = Array.from(
    { length: 16 },
    (_, id) => ask(id, '{"op":"drain","wait":true}'),
  );
  strictEqual(await ask(99, '{"op":"status"}'), "ERR BUSY too many commands at a time");
  open.resolve(true);
  for (const line of await Promise.all(asked)) match(line, /^OK \{"isDrained":true,/);
  strictEqual(await ask(100, '{"op":"status"}'), 'OK {"version":"1"}');
});

Deno.test("the list of conflicts comes in pages that fit a line, each conflict once, also while some are decided", async () => {
  await using fixture = await openEngineFixture();
  const { ask } = talkTo(fixture);
  const wide = "\xe9".repeat(900);
  for (let i = 0; i < 150; i++) {
    await conflict(fixture, `d/${String(i).padStart(3, "0")},v`);
  }
  await conflict(fixture, `${wide.slice(0, 200)}/${wide.slice(0, 200)}/x,v`);
  const seen: string[] = [];
  let cursor: string | null = null;
  for (let id = 1; id === 1 || cursor !== null; id++) {
    const request = encodeControlRequest({ op: "conflicts", cursor })!;
    const line = await ask(id, request.slice(request.indexOf("{")));
    ok(line.length <= 4_607, `${line.length}`);
    const reply = parseControlReply(line);
    ok(reply.kind === "ok", line);
    const paths = reply.answer.items("items").map((item) => item.text("path"));
    seen.push(...paths);
    cursor = reply.answer.textOrNull("next");
    // The row that the next page goes on from is decided before it is asked for.
    await fixture.manifest.apply(fixture.path(paths.at(-1)!), "any", {
      kind: "flagged",
      flags: { conflict: false },
    });
  }
  strictEqual(seen.length, 151);
  strictEqual(new Set(seen).size, 151);
  match(
    await ask(9_999, '{"op":"conflicts","cursor":"no"}'),
    /^ERR BADREQ .*list again$/,
  );
});

/** A row alone: what lies on the disk is not asked. */
async function conflict(fixture: EngineFixture, path: string): Promise<void> {
  const { root, device, clock } = fixture.context;
  const { mode, uid, gid, ino } = fixture.posix.lstat(root)!;
  const stat = {
    sizeBytes: 1,
    mtimeNs: 1n,
    ctimeNs: 1n,
    mode,
    uid,
    gid,
    ino,
    dev: device,
  };
  const nowS = Math.floor(clock.nowMs() / 1000);
  await fixture.manifest.apply(fixture.path(path), "absent", {
    kind: "written",
    stat,
    nowS,
  });
  await fixture.manifest.apply(fixture.path(path), "any", {
    kind: "flagged",
    flags: { conflict: true },
  });
}
