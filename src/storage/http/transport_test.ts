import { ok, rejects, strictEqual } from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { SYSTEM_CLOCK } from "../../core/clock.ts";
import { openTransport, type Transport, TransportError } from "./transport.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

async function withServer(
  answer: () => Response | Promise<Response>,
  stallMs: number,
  body: (transport: Transport, url: string) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    signal: ended.signal,
    onListen: (): void => {},
  }, answer);
  const transport = await openTransport({
    caCertPath: null,
    hosts: { allows: () => true, description: "" },
    clock: SYSTEM_CLOCK,
    stallMs,
    idleConnectionsMax: 1,
  });
  // What a busy daemon does all the time: whatever is not held is gone at once.
  const collecting = setInterval(collectGarbage, 20);
  try {
    await body(transport, `http://127.0.0.1:${server.addr.port}/`);
  } finally {
    clearInterval(collecting);
    transport.close();
    ended.abort();
    await server.finished;
  }
}

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

test("a body that stalls ends, also when every signal that nobody holds is collected", async () => {
  await withServer(stalled, 300, async (transport, url) => {
    const { body } = await transport.send({ ...request, url, signal: undefined });
    strictEqual((await body.read())?.length, 10);
    await rejects(() => body.read(), (error) => {
      return error instanceof TransportError && error.fault === "stalled";
    });
  });
});

test("a body that is read ends with the caller's reason", async () => {
  await withServer(stalled, 60_000, async (transport, url) => {
    const caller = new AbortController();
    const signal = AbortSignal.any([caller.signal, new AbortController().signal]);
    const { body } = await transport.send({ ...request, url, signal });
    await body.read();
    const reason = new Error("the daemon stops");
    const read = body.read();
    setTimeout(() => caller.abort(reason), 200);
    await rejects(() => read, (error) => error === reason);
  });
});

test("an answer that never comes ends too, by the watchdog and by the caller", async () => {
  const never = new Promise<Response>(() => {});
  await withServer(() => never, 300, async (transport, url) => {
    await rejects(
      () => transport.send({ ...request, url, signal: undefined }),
      (error) => error instanceof TransportError && error.fault === "stalled",
    );
  });
  await withServer(() => never, 60_000, async (transport, url) => {
    const caller = new AbortController();
    const reason = new Error("stop");
    setTimeout(() => caller.abort(reason), 200);
    await rejects(
      () => transport.send({ ...request, url, signal: caller.signal }),
      (error) => error === reason,
    );
  });
});

test("a body that is read to its end leaves no listener behind", async () => {
  const whole = (): Response => new Response(new Uint8Array(200_000));
  await withServer(whole, 60_000, async (transport, url) => {
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
