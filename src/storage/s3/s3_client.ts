/**
 * The official SDK's client, on our transport.
 *
 * The SDK serializes, signs and parses; it does not retry (withRetry does), does not
 * follow redirects, and opens no connection but for credentials.
 *
 * @module
 */

import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import {
  defaultProvider,
  type DefaultProviderInit,
} from "@aws-sdk/credential-provider-node";
import type { S3Options } from "../backend_options.ts";
import type { CloudSettings } from "../cloud_settings.ts";
import { SettingsError } from "../cloud_settings.ts";
import { type Body, EMPTY_BODY, handOver, streamOf } from "../http/body.ts";
import type { Transport } from "../http/transport.ts";

/** What the SDK hands its request handler. */
interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: unknown;
}

export interface S3Transports {
  /** To the store, and nowhere else. */
  readonly store: Transport;
  /** To STS and whatever else the default chain asks for credentials. */
  readonly credentials: Transport;
}

/** @throws {SettingsError} If one key of the pair is missing. */
export function createS3Client(
  options: S3Options,
  settings: CloudSettings,
  transports: S3Transports,
  userAgent: string,
): S3Client {
  const { accessKey = null, secretKey = null, sessionToken = null } = options;
  if ((accessKey === null) !== (secretKey === null)) {
    throw new SettingsError(
      "access_key and secret_key go together: set both, or neither for the default chain",
    );
  }
  const region = options.region ?? (settings.endpoint === null ? null : "us-east-1");
  const config: S3ClientConfig = {
    ...(region === null ? {} : { region }),
    ...(settings.endpoint === null ? {} : { endpoint: settings.endpoint }),
    ...(accessKey === null || secretKey === null ? {} : {
      credentials: {
        accessKeyId: accessKey,
        secretAccessKey: secretKey,
        ...(sessionToken === null ? {} : { sessionToken }),
      },
    }),
    ...(userAgent === "" ? {} : { customUserAgent: userAgent }),
    credentialDefaultProvider: (init: DefaultProviderInit = {}) =>
      defaultProvider({
        ...init,
        // Files are read anew: a new client is to see what is in them now.
        ignoreCache: true,
        // Clients for credentials would take over this one's handler, and its pin with it.
        parentClientConfig: {
          ...init.parentClientConfig,
          // What these answer is never an object's content.
          requestHandler: requestHandlerFor(transports.credentials, () => false),
        },
      }),
    forcePathStyle: options.forcePathStyle ?? settings.endpoint !== null,
    maxAttempts: 1,
    followRegionRedirects: false,
    // A checksum in a trailer is refused, or stored inside the object, by services that
    // do not know it; the signed SHA-256 of each body is verified by all of them.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: requestHandlerFor(transports.store, handOver),
    streamCollector: collect,
  };
  return new S3Client(config);
}

/** @param takes True if the body goes past the SDK. */
function requestHandlerFor(
  transport: Transport,
  takes: (body: Body) => boolean,
): S3ClientConfig["requestHandler"] & object {
  return {
    metadata: { handlerProtocol: "http/1.1" },
    async handle(
      request: SdkRequest,
      { abortSignal }: { abortSignal?: unknown } = {},
    ): Promise<{ response: SdkResponse }> {
      const answer = await transport.send({
        method: request.method,
        url: urlOf(request),
        headers: request.headers,
        body: bodyOf(request.body),
        signal: abortSignal as AbortSignal | undefined,
      });
      const isContent = answer.status === 200 || answer.status === 206;
      const isTaken = isContent && takes(answer.body);
      return {
        response: {
          statusCode: answer.status,
          headers: { ...answer.headers },
          body: streamOf(isTaken ? EMPTY_BODY : answer.body),
        },
      };
    },
    updateHttpClientConfig(): void {},
    httpHandlerConfigs(): Record<string, never> {
      return {};
    },
    destroy(): void {},
    // The SDK types a handler by its own response class; it only looks at these fields.
  } as unknown as S3ClientConfig["requestHandler"] & object;
}

function urlOf(request: SdkRequest): string {
  const port = request.port === undefined ? "" : `:${request.port}`;
  const pairs = Object.entries(request.query ?? {}).flatMap(([name, value]) =>
    [value].flat().map((one) =>
      one === null ? encoded(name) : `${encoded(name)}=${encoded(one)}`
    )
  );
  const query = pairs.length === 0 ? "" : `?${pairs.join("&")}`;
  return `${request.protocol}//${request.hostname}${port}${request.path}${query}`;
}

/** RFC 3986, as the signature has it. */
function encoded(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function bodyOf(body: unknown): Uint8Array<ArrayBuffer> | null {
  if (body === undefined || body === null || body === "") return null;
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof Uint8Array) return body as Uint8Array<ArrayBuffer>;
  throw new TypeError("S3: a request's body is text or bytes");
}

/** Bodies that the SDK parses itself: XML. */
async function collect(stream: unknown): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream as AsyncIterable<Uint8Array>) chunks.push(chunk);
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
