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
    const real = await fetch(upstream + target, {
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
      return await new Promise((_, reject) => {
        ended.signal.addEventListener("abort", () => reject(ended.signal.reason));
      });
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

function passedOn(real: Response, body: BodyInit | null = real.body): Response {
  const { status, headers } = real;
  return new Response(body, { status, headers });
}

function damaged(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  fault: Extract<ProxyFault, { kind: "cut" | "stall" | "flip" }>,
  ended: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  let passed = 0;
  return new ReadableStream({
    async pull(controller): Promise<void> {
      if (fault.kind !== "flip" && passed >= fault.afterBytes) {
        await reader.cancel();
        if (fault.kind === "cut") return controller.error(new Error("cut"));
        return await new Promise((resolve) => {
          ended.addEventListener("abort", () => {
            controller.error(ended.reason);
            resolve();
          });
        });
      }
      const { done, value } = await reader.read();
      if (done) return controller.close();
      const bytes = fault.kind === "flip"
        ? value
        : value.subarray(0, fault.afterBytes - passed);
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
