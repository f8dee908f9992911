/**
 * The requests of Google's JSON API that we make, one method each.
 *
 * They are made by the documented API, over the one transport that every store uses.
 * Google's storage library ends the process under Deno when a streaming download is
 * answered by 5xx, and knows neither an authority of one's own nor a pinned endpoint.
 *
 * @module
 */

import type { GcsOptions } from "../backend_options.ts";
import type { Body } from "../http/body.ts";
import { dateMsOf } from "../http/http_fault.ts";
import { type HttpAnswer, readText, type Transport } from "../http/transport.ts";
import type { ByteRange } from "../plan_ranges.ts";
import { GcsAnswerError } from "./gcs_errors.ts";
import type { TokenSource } from "./gcs_tokens.ts";

const TEXT_BYTES_MAX = 64 * 1_048_576;

/** The fields of an object's resource that we read. */
export interface GcsObject {
  readonly name: string;
  /** Decimal, as are all its 64-bit numbers. */
  readonly size?: string;
  readonly generation?: string;
  readonly timeCreated?: string;
  readonly storageClass?: string;
  readonly md5Hash?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

const OBJECT_FIELDS = "name,size,generation,timeCreated,storageClass,md5Hash,metadata";

/** Bytes of a session. */
export interface GcsChunk {
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of the whole object, if these are its last bytes: the service is to refuse others. */
  readonly md5Hash: string | null;
}

export interface GcsObjectPage {
  readonly items?: readonly GcsObject[];
  readonly nextPageToken?: string;
}

/** Query parameters; null leaves one out. */
type Query = Readonly<Record<string, string | null>>;

export interface Answered<T> {
  readonly value: T;
  /** The store's clock at the answer. */
  readonly dateMs: number | null;
}

export class GcsRequests {
  readonly #base: string;
  readonly #options: GcsOptions;
  readonly #transport: Transport;
  readonly #tokens: TokenSource;
  readonly #userAgent: string;

  constructor(
    parts: {
      readonly base: string;
      readonly options: GcsOptions;
      readonly transport: Transport;
      readonly tokens: TokenSource;
      readonly userAgent: string;
    },
  ) {
    this.#base = parts.base;
    this.#options = parts.options;
    this.#transport = parts.transport;
    this.#tokens = parts.tokens;
    this.#userAgent = parts.userAgent;
  }

  /** Metadata and bytes in one request. */
  async put(
    resource: object,
    bytes: Uint8Array,
    query: Query,
    signal: AbortSignal | undefined,
  ): Promise<Answered<GcsObject>> {
    const boundary = `p4cache-${crypto.randomUUID()}`;
    const head = new TextEncoder().encode(
      `--${boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n` +
        `${JSON.stringify(resource)}\r\n--${boundary}\r\n` +
        "Content-Type: application/octet-stream\r\n\r\n",
    );
    const tail = new TextEncoder().encode(`\r\n--${boundary}--\r\n`);
    const body = new Uint8Array(head.length + bytes.length + tail.length);
    body.set(head);
    body.set(bytes, head.length);
    body.set(tail, head.length + bytes.length);
    const url = this.#url(`/upload/storage/v1/b/${this.#bucket()}/o`, {
      uploadType: "multipart",
      fields: OBJECT_FIELDS,
      ...query,
    });
    const headers = { "content-type": `multipart/related; boundary=${boundary}` };
    return await this.#json(await this.#send("POST", url, headers, body, signal));
  }

  /** Begins a resumable upload; its URL. */
  async beginSession(
    resource: object,
    totalBytes: number,
    query: Query,
    signal: AbortSignal | undefined,
  ): Promise<string> {
    const url = this.#url(`/upload/storage/v1/b/${this.#bucket()}/o`, {
      uploadType: "resumable",
      fields: OBJECT_FIELDS,
      ...query,
    });
    const headers = {
      "content-type": "application/json; charset=UTF-8",
      "x-upload-content-length": String(totalBytes),
    };
    const body = new TextEncoder().encode(JSON.stringify(resource));
    const answer = await this.#send("POST", url, headers, body, signal);
    const { location } = answer.headers;
    if (answer.status !== 200 || location === undefined) throw await failed(answer);
    await readText(answer, TEXT_BYTES_MAX);
    return location;
  }

  /**
   * Sends bytes to a session, or with null asks how far it is.
   *
   * @returns The object, once it is whole; before that how many bytes the service has.
   */
  async putChunk(
    session: string,
    chunk: GcsChunk | null,
    totalBytes: number,
    signal: AbortSignal | undefined,
  ): Promise<Answered<GcsObject | { readonly receivedBytes: number }>> {
    const range = chunk === null
      ? "*"
      : `${chunk.offset}-${chunk.offset + chunk.bytes.length - 1}`;
    const md5Hash = chunk?.md5Hash ?? null;
    const headers = {
      "content-range": `bytes ${range}/${totalBytes}`,
      ...(md5Hash === null ? {} : { "x-goog-hash": `md5=${md5Hash}` }),
    };
    const answer = await this.#send(
      "PUT",
      session,
      headers,
      chunk?.bytes ?? new Uint8Array(0),
      signal,
    );
    // Google documents both for an object that is whole.
    if (answer.status !== 308) return await this.#json(answer, [200, 201]);
    await readText(answer, TEXT_BYTES_MAX);
    const last = answer.headers.range?.match(/^bytes=0-(\d+)$/)?.[1];
    const receivedBytes = last === undefined ? 0 : Number(last) + 1;
    return { value: { receivedBytes }, dateMs: dateMsOf(answer.headers.date) };
  }

  async cancelSession(session: string): Promise<void> {
    const answer = await this.#send("DELETE", session, {}, null, undefined);
    await readText(answer, TEXT_BYTES_MAX);
  }

  async describe(
    name: string,
    query: Query,
    signal: AbortSignal | undefined,
  ): Promise<Answered<GcsObject>> {
    const url = this.#objectUrl(name, { fields: OBJECT_FIELDS, ...query });
    return await this.#json(await this.#send("GET", url, {}, null, signal));
  }

  /** The object's bytes, whole (200) or of `range` (206). */
  async media(
    name: string,
    query: Query,
    range: ByteRange | null,
    signal: AbortSignal,
  ): Promise<Body> {
    const url = this.#objectUrl(name, { alt: "media", ...query });
    const headers: Record<string, string> = range === null
      ? {}
      : { range: `bytes=${range.start}-${range.end - 1}` };
    const answer = await this.#send("GET", url, headers, null, signal);
    if (answer.status !== (range === null ? 200 : 206)) throw await failed(answer);
    return answer.body;
  }

  async remove(
    name: string,
    query: Query,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const url = this.#objectUrl(name, query);
    const answer = await this.#send("DELETE", url, {}, null, signal);
    if (answer.status >= 300) throw await failed(answer);
    await readText(answer, TEXT_BYTES_MAX);
  }

  async page(
    prefix: string,
    pageToken: string | null,
    signal: AbortSignal | undefined,
  ): Promise<Answered<GcsObjectPage>> {
    const url = this.#url(`/storage/v1/b/${this.#bucket()}/o`, {
      prefix,
      pageToken,
      maxResults: "1000",
      fields: `nextPageToken,items(${OBJECT_FIELDS})`,
    });
    return await this.#json(await this.#send("GET", url, {}, null, signal));
  }

  async #send(
    method: string,
    url: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array<ArrayBuffer> | null,
    signal: AbortSignal | undefined,
  ): Promise<HttpAnswer> {
    const send = async (): Promise<HttpAnswer> => {
      const authorization = `Bearer ${await this.#tokens.token(signal)}`;
      return await this.#transport.send({
        method,
        url,
        headers: { ...headers, authorization, "user-agent": this.#userAgent },
        body,
        signal,
      });
    };
    const answer = await send();
    if (answer.status !== 401) return answer;
    // Tokens and keys get revoked and replaced: once more, from the credentials as they
    // are now.
    answer.body.cancel();
    this.#tokens.forget();
    return await send();
  }

  async #json<T>(
    answer: HttpAnswer,
    statuses: readonly number[] = [200],
  ): Promise<Answered<T>> {
    if (!statuses.includes(answer.status)) throw await failed(answer);
    const text = await readText(answer, TEXT_BYTES_MAX);
    return { value: parsed(answer, text) as T, dateMs: dateMsOf(answer.headers.date) };
  }

  #objectUrl(name: string, query: Query): string {
    const object = encodeURIComponent(name);
    return this.#url(`/storage/v1/b/${this.#bucket()}/o/${object}`, query);
  }

  #bucket(): string {
    return encodeURIComponent(this.#options.bucket);
  }

  #url(path: string, query: Query): string {
    const pairs = { ...query, userProject: this.#options.projectId ?? null };
    const text = Object.entries(pairs)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${name}=${encodeURIComponent(value!)}`)
      .join("&");
    return `${this.#base}${path}${text === "" ? "" : `?${text}`}`;
  }
}

async function failed(answer: HttpAnswer): Promise<GcsAnswerError> {
  const text = await readText(answer, 65_536).catch(() => "");
  return new GcsAnswerError(answer.status, answer.headers, text);
}

/** @throws {GcsAnswerError} If it is no JSON: somebody else's page, whatever its status. */
function parsed(answer: HttpAnswer, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new GcsAnswerError(answer.status, answer.headers, text);
  }
}
