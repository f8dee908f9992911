/**
 * The official SDK's container client, on our transport.
 *
 * @module
 */

import {
  AnonymousCredential,
  ContainerClient,
  type IHttpClient,
  newPipeline,
  type RequestPolicy,
  type RequestPolicyFactory,
  StorageSharedKeyCredential,
  type WebResource,
} from "@azure/storage-blob";
import { Readable } from "node:stream";
import type { AzureOptions, BackendTools } from "../backend_options.ts";
import { type CloudSettings, SettingsError } from "../cloud_settings.ts";
import { handOver } from "../http/body.ts";
import { orAborted, type TokenWait, withinStall } from "../http/token_wait.ts";
import { type HttpAnswer, readText, type Transport } from "../http/transport.ts";

type Credential = NonNullable<Parameters<typeof newPipeline>[0]>;
type TokenCredential = Extract<Credential, { getToken: unknown }>;

const DAY_MS = 86_400_000;

/** A SAS that ends sooner than this is worth a warning. */
const SAS_WARNING_MS = 14 * DAY_MS;

/** Longest error text or page of a listing that is parsed. */
const TEXT_BYTES_MAX = 64 * 1_048_576;

/** @throws {SettingsError} If the credentials do not fit together. */
export async function createContainerClient(
  options: AzureOptions,
  settings: CloudSettings,
  transport: Transport,
  tools: BackendTools,
): Promise<ContainerClient> {
  const account = options.accountName;
  const base = settings.endpoint ?? `https://${account}.blob.core.windows.net`;
  const sas = options.sasToken?.replace(/^\?/, "") ?? null;
  const url = `${base}/${options.container}${sas === null ? "" : `?${sas}`}`;
  const { userAgent, clock } = tools;
  const credential = await credentialOf(options, { clock, stallMs: settings.stallMs });
  const pipeline = newPipeline(credential, {
    httpClient: httpClientFor(transport),
    retryOptions: { maxTries: 1 },
    ...(userAgent === "" ? {} : { userAgentOptions: { userAgentPrefix: userAgent } }),
  });
  if ("getToken" in credential) pipeline.factories.push(ABORTABLE);
  return new ContainerClient(url, pipeline);
}

async function credentialOf(
  options: AzureOptions,
  wait: TokenWait,
): Promise<Credential> {
  const { accountName, accountKey = null, sasToken = null } = options;
  if (accountKey !== null && sasToken !== null) {
    throw new SettingsError("account_key and sas_token exclude each other: set one");
  }
  if (accountKey !== null) return new StorageSharedKeyCredential(accountName, accountKey);
  if (sasToken !== null) return new AnonymousCredential();
  // Large, and needed by few: it is loaded only here.
  const { DefaultAzureCredential } = await import("@azure/identity");
  return boundedCredential(new DefaultAzureCredential(), wait);
}

/**
 * The SDK asks for one token on behalf of all requests, and forgets what it asked only once
 * that ends: so it always does, and not with the signal of the request that came first.
 */
function boundedCredential(inner: TokenCredential, wait: TokenWait): TokenCredential {
  return {
    async getToken(scopes, options): ReturnType<TokenCredential["getToken"]> {
      const end = new AbortController();
      const bounded = { ...options, abortSignal: end.signal };
      try {
        return await withinStall(wait, undefined, () => inner.getToken(scopes, bounded));
      } finally {
        end.abort();
      }
    },
  };
}

/** A request that waits for the token of all ends with its own signal. */
const ABORTABLE: RequestPolicyFactory = {
  create: (next) => ({
    sendRequest(request): ReturnType<RequestPolicy["sendRequest"]> {
      const { abortSignal } = request;
      const signal = abortSignal instanceof AbortSignal ? abortSignal : undefined;
      return orAborted(signal, next.sendRequest(request));
    },
  }),
};

/** When a SAS ends, in milliseconds since the epoch; null if it does not say. */
export function sasExpiryMsOf(sasToken: string): number | null {
  const end = new URLSearchParams(sasToken.replace(/^\?/, "")).get("se");
  const endMs = end === null ? NaN : Date.parse(end);
  return Number.isNaN(endMs) ? null : endMs;
}

/** Says once a day that the SAS ends soon, or did. Told of each request. */
export function expiryWatch(options: AzureOptions, tools: BackendTools): () => void {
  const endMs = sasExpiryMsOf(options.sasToken ?? "");
  tools.onExpiry?.(endMs);
  if (endMs === null) return () => {};
  const end = new Date(endMs).toISOString();
  let nextMs = endMs - SAS_WARNING_MS;
  return () => {
    const nowMs = tools.clock.nowMs();
    if (nowMs < nextMs) return;
    nextMs = nowMs + DAY_MS;
    tools.onWarning(
      nowMs >= endMs
        ? `sas_token ended at ${end}: every request will be denied; set a new one`
        : `sas_token ends at ${end}; set a new one before that`,
    );
  };
}

function httpClientFor(transport: Transport): IHttpClient {
  return {
    async sendRequest(request: WebResource): ReturnType<IHttpClient["sendRequest"]> {
      const { abortSignal } = request;
      const answer = await transport.send({
        method: request.method,
        url: request.url,
        headers: request.headers.toJson(),
        body: bodyOf(request.body),
        signal: abortSignal instanceof AbortSignal ? abortSignal : undefined,
      });
      return {
        request,
        status: answer.status,
        headers: headersOf(answer),
        ...await contentOf(request, answer),
      };
    },
  };
}

async function contentOf(
  request: WebResource,
  answer: HttpAnswer,
): Promise<{ readableStreamBody?: NodeJS.ReadableStream; bodyAsText?: string }> {
  const isStreamed = request.streamResponseStatusCodes?.has(answer.status) === true;
  if (!isStreamed || !handOver(answer.body)) {
    return { bodyAsText: await readText(answer, TEXT_BYTES_MAX) };
  }
  return { readableStreamBody: new Readable({ read(): void {} }) };
}

function bodyOf(body: unknown): Uint8Array<ArrayBuffer> | null {
  if (body === undefined || body === null || body === "") return null;
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof Uint8Array) return body as Uint8Array<ArrayBuffer>;
  throw new TypeError("Azure: a request's body is text or bytes");
}

/** The one method that the SDK's adapter calls of its old interface for headers. */
function headersOf(answer: HttpAnswer): WebResource["headers"] {
  const toJson = (): Record<string, string> => ({ ...answer.headers });
  return { toJson } as unknown as WebResource["headers"];
}
