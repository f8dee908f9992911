/**
 * One way to every cloud store: HTTP/1.1 by `fetch`, under our rules instead of each SDK's.
 *
 * - No redirect is followed. With a custom endpoint, no request leaves for another host
 *   (`endpoint_pin`), whatever an SDK or an answer says.
 * - TLS always verifies; `ca_cert_path` adds authorities, nothing removes the check.
 * - A request, or a read of a body, without progress for `stallMs` ends as `unavailable`.
 * - A request's body is bytes in memory (a part), so that it can be signed and repeated,
 *   and so that nothing streams out of a connection that the server closed early.
 *
 * @module
 */

import type { Clock } from "../../core/clock.ts";
import { type Body, EMPTY_BODY, readAll } from "./body.ts";
import { Ending } from "./ending.ts";
import { StalledError, Watchdog } from "./watchdog.ts";

export interface TransportOptions {
  /** File with PEM certificates to trust besides the system's; null for none. */
  readonly caCertPath: string | null;
  /** Where requests may go. */
  readonly hosts: HostRule;
  readonly clock: Clock;
  readonly stallMs: number;
  /** Idle connections kept. */
  readonly idleConnectionsMax: number;
}

/** The hosts that a backend may talk to. */
export interface HostRule {
  /** @param host `host` or `host:port`, as in a URL. */
  allows(host: string): boolean;
  /** For the error: what is allowed. */
  readonly description: string;
}

export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer> | null;
  readonly signal: AbortSignal | undefined;
}

export interface HttpAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** Throws {@linkcode TransportError}; must be read to its end or cancelled. */
  readonly body: Body;
}

/** Why there was no answer, or not all of it. */
export type TransportFault =
  | "dns"
  | "connect"
  | "tls"
  | "broken"
  | "stalled"
  | "pinned";

export class TransportError extends Error {
  override readonly name = "TransportError";
  readonly fault: TransportFault;

  constructor(fault: TransportFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.fault = fault;
  }
}

export interface Transport {
  /** @throws {TransportError}, or the signal's reason. An HTTP status is no error here. */
  send(request: HttpRequest): Promise<HttpAnswer>;
  close(): void;
}

/**
 * Memory that a body is read into. What a reader gets without memory of its own comes in
 * pieces of 64 KiB, and costs four times the processor time; the HTTP stack itself keeps
 * about 400 KiB ready.
 */
const ROOM_BYTES = 524_288;

/** As many as ranges are in flight in a busy daemon. */
const FREE_ROOMS_MAX = 32;

/** Below this many bytes a second a request's body counts as stalled. */
const UPLOAD_BYTES_PER_MS_MIN = 32;

/** @throws {Error} If the file of `caCertPath` cannot be read or holds no certificate. */
export async function openTransport(options: TransportOptions): Promise<Transport> {
  const client = Deno.createHttpClient({
    caCerts: await readCertificates(options.caCertPath),
    http2: false,
    poolMaxIdlePerHost: options.idleConnectionsMax,
    allowHost: true,
  });
  return new FetchTransport(client, options);
}

async function readCertificates(path: string | null): Promise<string[]> {
  if (path === null) return [];
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    throw new Error(`Cannot read "${path}" (ca_cert_path): ${cause}`, { cause });
  }
  const blocks = text.match(
    /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
  );
  if (blocks === null) {
    throw new Error(`Cannot use "${path}" (ca_cert_path): it has no PEM certificate`);
  }
  return blocks;
}

/** Memory of bodies that are over, for those to come. */
class Rooms {
  readonly #free: ArrayBuffer[] = [];

  take(bytes: number): ArrayBuffer {
    if (bytes < ROOM_BYTES) return new ArrayBuffer(Math.max(1, bytes));
    return this.#free.pop() ?? new ArrayBuffer(ROOM_BYTES);
  }

  give(room: ArrayBuffer): void {
    const isWhole = room.byteLength === ROOM_BYTES && !room.detached;
    if (isWhole && this.#free.length < FREE_ROOMS_MAX) this.#free.push(room);
  }
}

class FetchTransport implements Transport {
  readonly #client: Deno.HttpClient;
  readonly #rooms = new Rooms();
  readonly #options: TransportOptions;

  constructor(client: Deno.HttpClient, options: TransportOptions) {
    this.#client = client;
    this.#options = options;
  }

  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { clock, stallMs, hosts } = this.#options;
    const { host } = new URL(request.url);
    if (!hosts.allows(host)) {
      throw new TransportError(
        "pinned",
        `a request to ${host} was refused, ${hosts.description}`,
      );
    }
    request.signal?.throwIfAborted();
    const uploadMs = (request.body?.length ?? 0) / UPLOAD_BYTES_PER_MS_MIN;
    const watchdog = new Watchdog(clock, stallMs, stallMs + uploadMs);
    const ending = new Ending(watchdog, request.signal);
    try {
      const asked = fetch(request.url, {
        method: request.method,
        // A proxy that compressed the answer would change its length.
        headers: { ...request.headers, "accept-encoding": "identity" },
        body: request.body,
        redirect: "manual",
        client: this.#client,
        signal: ending.signal,
      });
      // Whoever does not wait for it any more wants no body of it either.
      asked.then((late) => {
        if (ending.signal.aborted) late.body?.cancel().catch(() => {});
      }, () => {});
      const response = await ending.orElse(() => asked);
      watchdog.rest();
      if (response.body === null) ending.release();
      return {
        status: response.status,
        headers: Object.fromEntries(response.headers),
        body: response.body === null
          ? EMPTY_BODY
          : new WatchedBody(response, { watchdog, ending, host, rooms: this.#rooms }),
      };
    } catch (error) {
      ending.release();
      throw translated(error, request.signal, host);
    }
  }

  close(): void {
    this.#client.close();
  }
}

/**
 * The watchdog watches while a read waits, and not while its caller is busy with what came:
 * a limit of bandwidth is no stall. A body that nobody reads ends with its caller's signal.
 */
class WatchedBody implements Body {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #watchdog: Watchdog;
  readonly #ending: Ending;
  readonly #host: string;
  /** Each read takes the memory away and gives it back. */
  #room: ArrayBuffer;

  readonly #rooms: Rooms;

  constructor(
    response: Response,
    { watchdog, ending, host, rooms }: {
      readonly watchdog: Watchdog;
      readonly ending: Ending;
      readonly host: string;
      readonly rooms: Rooms;
    },
  ) {
    this.#reader = response.body!.getReader({ mode: "byob" });
    const length = response.headers.get("content-length");
    this.#room = rooms.take(length === null ? ROOM_BYTES : Number(length));
    this.#rooms = rooms;
    this.#watchdog = watchdog;
    this.#ending = ending;
    this.#host = host;
    // The signal that `fetch` has does not end a body that it has given away, once the
    // runtime has collected its own signals in between.
    ending.signal.addEventListener("abort", () => this.cancel(), { once: true });
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | null> {
    this.#watchdog.touch();
    try {
      const { done, value } = await this.#ending.orElse(() =>
        this.#reader.read(new Uint8Array(this.#room))
      );
      if (!done) {
        this.#watchdog.rest();
        this.#room = value.buffer;
        return value;
      }
      this.#ending.release();
      // Who asks for more is done with what came before. A read that failed keeps it.
      if (value !== undefined) this.#rooms.give(value.buffer);
      return null;
    } catch (error) {
      this.cancel();
      throw translated(error, this.#ending.callers, this.#host);
    }
  }

  cancel(): void {
    this.#ending.release();
    this.#reader.cancel().catch(() => {});
  }
}

/** All of a body that is small: an answer in XML or JSON. */
export async function readText(answer: HttpAnswer, bytesMax: number): Promise<string> {
  return new TextDecoder().decode(await readAll(answer.body, bytesMax));
}

/** `fetch` tells causes in words only; these are Deno's and rustls's. */
const FAULT_BY_WORDS: readonly (readonly [RegExp, TransportFault])[] = [
  [/dns error|failed to lookup|name resolution/i, "dns"],
  [/certificate|invalid peer|tls|handshake/i, "tls"],
  [/tcp connect|connection refused|tcp open|unreachable/i, "connect"],
];

function translated(
  error: unknown,
  signal: AbortSignal | undefined,
  host: string,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (error instanceof TransportError) return error;
  if (error instanceof StalledError) {
    return new TransportError("stalled", `${host}: ${error.message}`, error);
  }
  const words = wordsOf(error);
  const fault = FAULT_BY_WORDS.find(([pattern]) => pattern.test(words))?.[1] ?? "broken";
  const advice = fault === "tls" ? " (ca_cert_path names further authorities)" : "";
  // Without its cause, which names the URL, and with it a SAS or another signature.
  return new TransportError(fault, `${host}: ${words}${advice}`);
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  // The URL may carry a signature.
  return `${error.message}${cause}`.replace(/https?:\/\/[^\s)]+/g, "<url>");
}
