/**
 * A stand-in for Google Cloud Storage: the part of its JSON API that p4-cache uses, from
 * the public documentation, in memory.
 *
 * It checks what the real service checks: tokens, preconditions, the MD5 of a request, the
 * order of a resumable upload's chunks and that all but the last are multiples of 256 KiB.
 * It signs in a service account by the JWT flow of RFC 7523, signature included.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash, createPublicKey, verify } from "node:crypto";

export interface GcsServer {
  readonly endpoint: string;
  /** Lives until the next {@linkcode revokeTokens}. */
  revokeTokens(): void;
  /** Takes at most this many bytes of the next chunk, as a service does that restarts. */
  cutNextChunk(bytesMax: number): void;
  /** Inverts a bit of the next session's object, as memory does that is bad. */
  damageNextSession(): void;
  /** As services do that do not know `x-goog-hash` of a session's last chunk. */
  ignoreSessionHashes(): void;
  /** Answers the next `count` chunks with 308, and takes nothing of them. */
  stallSessions(count: number): void;
  /** Names another origin in the URLs of upload sessions. */
  announce(origin: string): void;
  close(): Promise<void>;
}

export interface GcsServerOptions {
  readonly bucket: string;
  /** PEM of the service account's public key. */
  readonly publicKey: string;
}

interface Stored {
  readonly bytes: Uint8Array;
  /** In base64, as the service names it. */
  readonly md5: string;
  readonly generation: number;
  readonly resource: Readonly<Record<string, unknown>>;
  readonly createdAt: string;
}

interface Session {
  readonly resource: Record<string, unknown>;
  readonly ifGenerationMatch: string | null;
  readonly totalBytes: number;
  readonly chunks: Uint8Array[];
  receivedBytes: number;
  /** The object, once the upload is over. */
  done: Stored | null;
}

const CHUNK_MULTIPLE = 262_144;
const PIECE_BYTES = 67_108_864;

export function startGcsServer(options: GcsServerOptions): GcsServer {
  const service = new GcsService(options);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => service.answer(request),
  );
  service.endpoint = `http://127.0.0.1:${server.addr.port}`;
  return {
    endpoint: service.endpoint,
    revokeTokens: () => service.tokens.clear(),
    cutNextChunk: (bytesMax) => service.cutBytes = bytesMax,
    damageNextSession: () => service.damagesNext = true,
    ignoreSessionHashes: () => service.checksSessions = false,
    stallSessions: (count) => service.stallCount = count,
    announce: (origin) => service.endpoint = origin,
    close: () => server.shutdown(),
  };
}

class GcsService {
  endpoint = "";
  cutBytes: number | null = null;
  damagesNext = false;
  checksSessions = true;
  stallCount = 0;
  readonly tokens = new Set<string>();
  readonly #options: GcsServerOptions;
  readonly #objects = new Map<string, Stored>();
  readonly #sessions = new Map<string, Session>();
  #generation = 1_700_000_000_000_000;

  constructor(options: GcsServerOptions) {
    this.#options = options;
  }

  async answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (url.pathname === "/token") return await this.#token(request);
    const token = request.headers.get("authorization")?.replace("Bearer ", "") ?? "";
    if (!this.tokens.has(token)) return failure(401, "authError", "Invalid Credentials");
    const path = url.pathname.match(
      /^(\/upload)?\/storage\/v1\/b\/([^/]+)\/o(?:\/([^/]+))?$/,
    );
    if (path === null) return failure(404, "notFound", "Not Found");
    if (decodeURIComponent(path[2]!) !== this.#options.bucket) {
      return failure(404, "notFound", "The specified bucket does not exist.");
    }
    if (path[1] !== undefined) return await this.#upload(request, url);
    if (path[3] === undefined) return this.#list(url);
    return this.#object(request, url, decodeURIComponent(path[3]));
  }

  /** RFC 7523: a JWT signed by the account's key for a token. */
  async #token(request: Request): Promise<Response> {
    const form = new URLSearchParams(await request.text());
    const [head, claims, signature] = (form.get("assertion") ?? "").split(".");
    const isValid = signature !== undefined && verify(
      "RSA-SHA256",
      new TextEncoder().encode(`${head}.${claims}`),
      createPublicKey(this.#options.publicKey),
      Buffer.from(signature, "base64url"),
    );
    if (!isValid) return Response.json({ error: "invalid_grant" }, { status: 400 });
    const { iat, exp } = JSON.parse(Buffer.from(claims!, "base64url").toString());
    const nowSeconds = Date.now() / 1_000;
    if (iat > nowSeconds + 300 || exp < nowSeconds - 300 || exp > iat + 3_600) {
      return Response.json({
        error: "invalid_grant",
        "error_description": "Invalid JWT: Token must be a short-lived token (60 " +
          "minutes) and in a reasonable timeframe. Check your iat and exp values in the " +
          "JWT claim.",
      }, { status: 400 });
    }
    const token = crypto.randomUUID();
    this.tokens.add(token);
    return Response.json({
      "access_token": token,
      "token_type": "Bearer",
      "expires_in": 3_600,
    });
  }

  async #upload(request: Request, url: URL): Promise<Response> {
    const session = url.searchParams.get("upload_id");
    if (session !== null) return await this.#chunk(request, session);
    const condition = url.searchParams.get("ifGenerationMatch");
    if (url.searchParams.get("uploadType") === "resumable") {
      const id = crypto.randomUUID();
      this.#sessions.set(id, {
        resource: await request.json(),
        ifGenerationMatch: condition,
        totalBytes: Number(request.headers.get("x-upload-content-length")),
        chunks: [],
        receivedBytes: 0,
        done: null,
      });
      url.searchParams.set("upload_id", id);
      const location = `${this.endpoint}${url.pathname}${url.search}`;
      return new Response(null, { status: 200, headers: { location } });
    }
    const { resource, bytes } = await partsOf(request);
    return this.#store(resource, bytes, condition).answer;
  }

  async #chunk(request: Request, id: string): Promise<Response> {
    const session = this.#sessions.get(id);
    if (session === undefined) return failure(410, "gone", "The session is over.");
    const body = new Uint8Array(await request.arrayBuffer());
    if (request.method === "DELETE") {
      this.#sessions.delete(id);
      return new Response(null, { status: 499 });
    }
    if (session.done !== null) return Response.json(resourceOf(session.done));
    const range = request.headers.get("content-range") ?? "";
    const [, start, , total] = range.match(/^bytes (?:(\d+)-(\d+)|\*)\/(\d+)$/) ?? [];
    if (Number(total) !== session.totalBytes) return failure(400, "invalid", "total");
    if (start !== undefined && Number(start) !== session.receivedBytes) {
      return failure(400, "invalid", `${start} is not ${session.receivedBytes}`);
    }
    const isLast = session.receivedBytes + body.length === session.totalBytes;
    if (!isLast && body.length % CHUNK_MULTIPLE !== 0) {
      return failure(400, "invalid", "chunks are multiples of 256 KiB");
    }
    if (this.stallCount > 0 && body.length > 0) {
      this.stallCount -= 1;
      return incomplete(session);
    }
    const taken = this.cutBytes === null ? body : body.subarray(0, this.cutBytes);
    this.cutBytes = null;
    session.chunks.push(taken);
    session.receivedBytes += taken.length;
    if (session.receivedBytes < session.totalBytes) return incomplete(session);
    const bytes = joined(session.chunks);
    if (this.damagesNext) bytes[bytes.length >> 1]! ^= 4;
    this.damagesNext = false;
    const sentHash = request.headers.get("x-goog-hash")?.match(/^md5=(.+)$/)?.[1];
    const md5Hash = this.checksSessions && sentHash !== undefined
      ? { md5Hash: sentHash }
      : {};
    const { stored, answer } = this.#store(
      { ...session.resource, ...md5Hash },
      bytes,
      session.ifGenerationMatch,
    );
    session.done = stored;
    session.chunks.length = 0;
    return answer;
  }

  #store(
    resource: Record<string, unknown>,
    bytes: Uint8Array,
    ifGenerationMatch: string | null,
  ): { stored: Stored | null; answer: Response } {
    const name = String(resource.name);
    const current = this.#objects.get(name);
    if (
      ifGenerationMatch !== null && ifGenerationMatch !== String(current?.generation ?? 0)
    ) {
      return { stored: null, answer: conditionNotMet() };
    }
    const md5 = md5Of(bytes);
    if (resource.md5Hash !== undefined && resource.md5Hash !== md5) {
      const why = `Provided MD5 hash "${resource.md5Hash}" doesn't match calculated MD5.`;
      return { stored: null, answer: failure(400, "invalid", why) };
    }
    this.#generation += 1;
    const createdAt = new Date().toISOString();
    const stored = { bytes, md5, generation: this.#generation, resource, createdAt };
    this.#objects.set(name, stored);
    return { stored, answer: Response.json(resourceOf(stored)) };
  }

  #object(request: Request, url: URL, name: string): Response {
    const stored = this.#objects.get(name);
    const generation = url.searchParams.get("generation");
    const isAbsent = stored === undefined ||
      (generation !== null && generation !== String(stored.generation));
    if (isAbsent) {
      return failure(404, "notFound", `No such object: ${this.#options.bucket}/${name}`);
    }
    const condition = url.searchParams.get("ifGenerationMatch");
    if (condition !== null && condition !== String(stored.generation)) {
      return conditionNotMet();
    }
    if (request.method === "DELETE") {
      this.#objects.delete(name);
      return new Response(null, { status: 204 });
    }
    if (url.searchParams.get("alt") !== "media") return Response.json(resourceOf(stored));
    return media(request, stored);
  }

  #list(url: URL): Response {
    const prefix = url.searchParams.get("prefix") ?? "";
    const token = url.searchParams.get("pageToken") ?? "";
    const count = Number(url.searchParams.get("maxResults") ?? 1_000);
    const names = [...this.#objects.keys()]
      .filter((name) => name.startsWith(prefix) && name > token)
      .sort();
    const page = names.slice(0, count);
    return Response.json({
      items: page.map((name) => resourceOf(this.#objects.get(name)!)),
      ...(names.length > count ? { nextPageToken: page.at(-1) } : {}),
    });
  }
}

function media(request: Request, stored: Stored): Response {
  const headers = {
    "content-type": "application/octet-stream",
    "x-goog-generation": String(stored.generation),
    "x-goog-hash": `md5=${stored.md5}`,
  };
  const range = request.headers.get("range")?.match(/^bytes=(\d+)-(\d+)$/);
  const total = stored.bytes.length;
  if (range === undefined || range === null) {
    return new Response(new Uint8Array(stored.bytes), { headers });
  }
  const start = Number(range[1]);
  if (start >= total) {
    return failure(416, "requestedRangeNotSatisfiable", "Request range not satisfiable");
  }
  const end = Math.min(total, Number(range[2]) + 1);
  return new Response(stored.bytes.slice(start, end), {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${start}-${end - 1}/${total}` },
  });
}

function incomplete(session: Session): Response {
  const headers: Record<string, string> = session.receivedBytes === 0
    ? {}
    : { range: `bytes=0-${session.receivedBytes - 1}` };
  return new Response(null, { status: 308, headers });
}

function conditionNotMet(): Response {
  const why = "At least one of the pre-conditions you specified did not hold.";
  return failure(412, "conditionNotMet", why);
}

function failure(code: number, reason: string, message: string): Response {
  const errors = [{ domain: "global", reason, message }];
  return Response.json({ error: { code, message, errors } }, { status: code });
}

function resourceOf(stored: Stored): Record<string, unknown> {
  return {
    kind: "storage#object",
    ...stored.resource,
    size: String(stored.bytes.length),
    generation: String(stored.generation),
    timeCreated: stored.createdAt,
    storageClass: stored.resource.storageClass ?? "STANDARD",
    md5Hash: stored.md5,
  };
}

/** multipart/related: the resource, then the bytes. */
async function partsOf(
  request: Request,
): Promise<{ resource: Record<string, unknown>; bytes: Uint8Array }> {
  const body = new Uint8Array(await request.arrayBuffer());
  const type = request.headers.get("content-type") ?? "";
  const boundary = `--${type.match(/boundary=(.+)$/)![1]}`;
  const text = new TextDecoder("latin1").decode(body);
  const first = text.indexOf("\r\n\r\n") + 4;
  const firstEnd = text.indexOf(`\r\n${boundary}`, first);
  const second = text.indexOf("\r\n\r\n", firstEnd + boundary.length) + 4;
  const secondEnd = text.lastIndexOf(`\r\n${boundary}--`);
  const resource = JSON.parse(new TextDecoder().decode(body.subarray(first, firstEnd)));
  return { resource, bytes: body.slice(second, secondEnd) };
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** In pieces: one call takes less than 2 GiB. */
function md5Of(bytes: Uint8Array): string {
  const hash = createHash("md5");
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    hash.update(bytes.subarray(at, at + PIECE_BYTES));
  }
  return hash.digest("base64");
}
