/**
 * A proxy that lies: between a backend and a real server it cuts, stalls, damages and
 * replaces answers, as it is told for each request.
 *
 * @module
 */

export type ProxyFault =
  /** Answers by itself; the server sees nothing. */
  | {
    readonly kind: "answer";
    readonly status: number;
    readonly headers?: Record<string, string>;
    readonly body?: string;
  }
  /** Lets the server do it, and answers something else. */
  | { readonly kind: "lose"; readonly status: number }
  /** Ends the connection after so many bytes of the body. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** Sends nothing more after so many bytes of the body; -1: not even an answer. */
  | { readonly kind: "stall"; readonly afterBytes: number }
  /** Ends the body after so many bytes as if it were whole. */
  | { readonly kind: "short"; readonly afterBytes: number }
  /** Adds bytes to the end of the body. */
  | { readonly kind: "long"; readonly moreBytes: number }
  /** Sends so many bytes at a time, and awaits `between` before each but the first. */
  | {
    readonly kind: "drip";
    readonly pieceBytes: number;
    readonly between: (sentBytes: number) => Promise<void>;
  }
  /** Inverts one byte of the body. */
  | { readonly kind: "flip"; readonly atByte: number };

export interface ProxiedRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: Headers;
  /** Counts from 0, over all requests. */
  readonly index: number;
}

/** Null: passes the request and its answer on. May await what should happen first. */
export type ProxyPlan = (
  request: ProxiedRequest,
) => ProxyFault | null | Promise<ProxyFault | null>;

export interface FaultProxy {
  /** `http://127.0.0.1:port`. */
  readonly origin: string;
  readonly requests: readonly ProxiedRequest[];
  close(): Promise<void>;
}

export function startFaultProxy(upstream: string, plan: ProxyPlan): FaultProxy {
  const client = Deno.createHttpClient({ allowHost: true, http2: false });
  const requests: ProxiedRequest[] = [];
  const ended = new AbortController();

  const answer = async (request: Request): Promise<Response> => {
    const url = new URL(request.url);
    const target = url.pathname + url.search;
    const { method, headers } = request;
    const proxied = { method, target, headers, index: requests.length };
    requests.push(proxied);
    const fault = await plan(proxied);
    if (fault?.kind === "answer") {
      await request.body?.cancel();
      const { status, headers: own = {}, body = null } = fault;
      return new Response(method === "HEAD" ? null : body, { status, headers: own });
    }
    const hasBody = method !== "GET" && method !== "HEAD";
    let real = await fetch(upstream + target, {
      method,
      headers,
      body: hasBody ? new Uint8Array(await request.arrayBuffer()) : null,
      redirect: "manual",
      client,
    });
    if (fault === null) return passedOn(real);
    if (fault.kind === "lose") {
      await real.body?.cancel();
      return new Response(null, { status: fault.status });
    }
    if (fault.kind === "stall" && fault.afterBytes < 0) {
      await real.body?.cancel();
      await aborted(ended.signal);
      return new Response(null, { status: 500 });
    }
    if (fault.kind === "drip") return passedOn(real, dripping(real.body!, fault));
    if (fault.kind === "short" || fault.kind === "long") {
      // The length is left out, so that the end is the end.
      real = new Response(real.body, real);
      real.headers.delete("content-length");
    }
    return passedOn(real, damaged(real.body!, fault, ended.signal));
  };

  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen: () => {},
    onError: () => new Response(null, { status: 500 }),
  }, answer);
  return {
    origin: `http://127.0.0.1:${server.addr.port}`,
    requests,
    async close(): Promise<void> {
      ended.abort(new Error("the proxy is closed"));
      await server.shutdown();
      client.close();
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve());
  });
}

function passedOn(real: Response, body: BodyInit | null = real.body): Response {
  const { status, headers } = real;
  return new Response(body, { status, headers });
}

type Bytes = Uint8Array<ArrayBuffer>;

function dripping(
  body: ReadableStream<Bytes>,
  { pieceBytes, between }: Extract<ProxyFault, { kind: "drip" }>,
): ReadableStream<Bytes> {
  const pieces = async function* (): AsyncGenerator<Bytes> {
    const all = new Uint8Array(await new Response(body).arrayBuffer());
    for (let sent = 0; sent < all.length; sent += pieceBytes) {
      if (sent > 0) await between(sent);
      yield all.subarray(sent, sent + pieceBytes);
    }
  };
  return ReadableStream.from(pieces());
}

function damaged(
  body: ReadableStream<Bytes>,
  fault: Extract<ProxyFault, { kind: "cut" | "stall" | "flip" | "short" | "long" }>,
  ended: AbortSignal,
): ReadableStream<Bytes> {
  const reader = body.getReader();
  const bytesMax = "afterBytes" in fault ? fault.afterBytes : Infinity;
  let passed = 0;
  return new ReadableStream({
    async pull(controller): Promise<void> {
      if (passed >= bytesMax) {
        await reader.cancel();
        if (fault.kind === "cut") return controller.error(new Error("cut"));
        if (fault.kind === "short") return controller.close();
        await aborted(ended);
        return controller.error(ended.reason);
      }
      const { done, value } = await reader.read();
      if (done) {
        if (fault.kind === "long") controller.enqueue(new Uint8Array(fault.moreBytes));
        return controller.close();
      }
      const bytes = value.subarray(0, bytesMax - passed);
      if (fault.kind === "flip") {
        const at = fault.atByte - passed;
        if (at >= 0 && at < bytes.length) bytes[at] = ~bytes[at]! & 0xff;
      }
      passed += bytes.length;
      controller.enqueue(bytes);
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
