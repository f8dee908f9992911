import { ok, rejects, strictEqual } from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ManualClock } from "../../../tests/support/manual_clock.ts";
import { openTransport, type Transport, TransportError } from "./transport.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** What a busy daemon does all the time: whatever is not held is gone. */
async function collect(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

async function withServer(
  answer: () => Response | Promise<Response>,
  body: (transport: Transport, url: string, clock: ManualClock) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    signal: ended.signal,
    onListen: (): void => {},
  }, answer);
  const clock = new ManualClock();
  const transport = await openTransport({
    caCertPath: null,
    hosts: { allows: () => true, description: "" },
    clock,
    stallMs: STALL_MS,
    idleConnectionsMax: 1,
  });
  try {
    await body(transport, `http://127.0.0.1:${server.addr.port}/`, clock);
  } finally {
    transport.close();
    ended.abort();
    await server.finished;
  }
}

const STALL_MS = 60_000;

/** Ten bytes, and then nothing for ever. */
function stalled(): Response {
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(10)),
  });
  return new Response(body, { headers: { "content-length": "1000" } });
}

const request = { method: "GET", headers: {}, body: null } as const;

function test(sentence: string, fn: () => Promise<void>): void {
  Deno.test({ name: sentence, fn, sanitizeOps: false, sanitizeResources: false });
}

const isStalled = (error: unknown): boolean =>
  error instanceof TransportError && error.fault === "stalled";

test("a body that stalls ends, also when every signal that nobody holds is collected", async () => {
  await withServer(stalled, async (transport, url, clock) => {
    const { body } = await transport.send({ ...request, url, signal: undefined });
    strictEqual((await body.read())?.length, 10);
    const ended = rejects(() => body.read(), isStalled);
    await collect();
    await clock.advance(STALL_MS);
    await ended;
  });
});

test("a body that is read ends with the caller's reason", async () => {
  await withServer(stalled, async (transport, url) => {
    const caller = new AbortController();
    const signal = AbortSignal.any([caller.signal, new AbortController().signal]);
    const { body } = await transport.send({ ...request, url, signal });
    await body.read();
    const reason = new Error("the daemon stops");
    const ended = rejects(() => body.read(), (error) => error === reason);
    await collect();
    caller.abort(reason);
    await ended;
  });
});

test("only a read that waits can stall, and not its caller who does something else", async () => {
  let server: ReadableStreamDefaultController<Uint8Array> | null = null;
  const slow = (): Response =>
    new Response(
      new ReadableStream({
        start(controller): void {
          server = controller;
          controller.enqueue(new Uint8Array(10));
        },
      }),
    );
  await withServer(slow, async (transport, url, clock) => {
    const { body } = await transport.send({ ...request, url, signal: undefined });
    await clock.advance(3 * STALL_MS);
    strictEqual((await body.read())?.length, 10);
    await clock.advance(3 * STALL_MS);
    server!.enqueue(new Uint8Array(20));
    strictEqual((await body.read())?.length, 20);
    await clock.advance(3 * STALL_MS);
    const ended = rejects(() => body.read(), isStalled);
    await clock.advance(STALL_MS);
    await ended;
  });
});

test("a body that nobody reads any more frees its connection by the caller's signal", async () => {
  const freed = Promise.withResolvers<void>();
  const endless = (): Response =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(10)),
        cancel: () => freed.resolve(),
      }),
    );
  await withServer(endless, async (transport, url) => {
    const caller = new AbortController();
    const { signal } = caller;
    const { body } = await transport.send({ ...request, url, signal });
    strictEqual((await body.read())?.length, 10);
    await collect();
    caller.abort(new Error("the download is over"));
    await freed.promise;
    await rejects(() => body.read(), /the download is over/);
  });
});

test("an answer that never comes ends too, by the watchdog and by the caller", async () => {
  const never = new Promise<Response>(() => {});
  await withServer(() => never, async (transport, url, clock) => {
    const stalling = rejects(
      () => transport.send({ ...request, url, signal: undefined }),
      isStalled,
    );
    await collect();
    await clock.advance(STALL_MS);
    await stalling;
    const caller = new AbortController();
    const reason = new Error("stop");
    const stopping = rejects(
      () => transport.send({ ...request, url, signal: caller.signal }),
      (error) => error === reason,
    );
    await collect();
    caller.abort(reason);
    await stopping;
  });
});

test("a body that is read to its end leaves no listener behind", async () => {
  const whole = (): Response => new Response(new Uint8Array(200_000));
  await withServer(whole, async (transport, url) => {
    const caller = new AbortController();
    let listenerCount = 0;
    const { signal } = caller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>): void => {
      listenerCount += 1;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>): void => {
      listenerCount -= 1;
      remove(...args);
    };
    for (let i = 0; i < 3; i++) {
      const { body } = await transport.send({ ...request, url, signal });
      let bytes = 0;
      for (let part = await body.read(); part !== null; part = await body.read()) {
        bytes += part.length;
      }
      strictEqual(bytes, 200_000);
    }
    ok(listenerCount <= 0, `${listenerCount} listeners are left`);
  });
});
