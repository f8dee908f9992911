/**
 * A store in a bucket of S3, or of a service that speaks S3.
 *
 * One PutObject for what fits a part, a multipart upload for the rest; GetObject, whole or
 * in ranges. Bodies are signed with their SHA-256, which the service verifies. What is
 * conditional is enforced by the service (If-None-Match, If-Match).
 *
 * @module
 */

import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { type ObjectKey, objectKeyOf } from "../../core/names.ts";
import type {
  DeleteRequest,
  DownloadRequest,
  DownloadResult,
  ObjectInfo,
  StorageBackend,
  StorageCapabilities,
  UploadRequest,
} from "../backend.ts";
import type { BackendTools, S3Options } from "../backend_options.ts";
import {
  type CloudSettings,
  hostRuleFor,
  planCloudSettings,
  SettingsError,
} from "../cloud_settings.ts";
import { dateMsOf } from "../http/http_fault.ts";
import { openTransport, type Transport } from "../http/transport.ts";
import { Places } from "../limiting_backend.ts";
import { decodeMetadata, encodeMetadata } from "../object_metadata.ts";
import { sendParts } from "../part_upload.ts";
import { planPartBytes } from "../plan_ranges.ts";
import {
  downloadInRanges,
  type RangeAnswer,
  type RangeRequest,
} from "../range_download.ts";
import { retryTransient } from "../retrying_backend.ts";
import { openSourceReader, type SourceReader } from "../source_reader.ts";
import { StorageError, type StorageOperation } from "../storage_error.ts";
import { createS3Client } from "./s3_client.ts";
import { s3Error } from "./s3_errors.ts";

const MIB = 1_048_576;

/** Of S3; services that allow less say so in their answers. */
const PART_LIMITS = {
  partBytesMin: 5 * MIB,
  partBytesMax: 5_120 * MIB,
  partsMax: 10_000,
};
const OBJECT_BYTES_MAX = 5 * 1_024 ** 4;

/** Parts in memory, of all uploads together. */
const PARTS_IN_MEMORY = 16;

/** How long a look at the bucket is good for, in milliseconds. */
const BUCKET_SEEN_MS = 60_000;

const CAPABILITIES: StorageCapabilities = {
  metadata: true,
  rangeReads: true,
  conditionalWrites: true,
  conditionalReads: true,
  storageClasses: true,
  customEndpoint: true,
  customCa: true,
  versions: true,
  objectBytesMax: OBJECT_BYTES_MAX,
};

/** @throws {SettingsError} */
export async function openS3Backend(
  options: S3Options,
  tools: BackendTools,
): Promise<StorageBackend> {
  if (options.bucket === "") throw new SettingsError("bucket is empty");
  if ((options.kmsKeyId ?? null) !== null && options.serverSideEncryption !== true) {
    throw new SettingsError("kms_key_id needs server_side_encryption = true");
  }
  const settings = planCloudSettings(options);
  const transport = await openTransport({
    caCertPath: settings.caCertPath,
    hosts: hostRuleFor(
      settings.endpoint,
      options.bucket,
      /\.amazonaws\.com(?:\.cn)?(?::443)?$/,
    ),
    clock: tools.clock,
    stallMs: settings.stallMs,
    idleConnectionsMax: 64,
  });
  const client = createS3Client(options, settings, transport, tools.userAgent);
  return new S3Backend({ client, transport, options, settings, tools });
}

interface S3Parts {
  readonly client: S3Client;
  readonly transport: Transport;
  readonly options: S3Options;
  readonly settings: CloudSettings;
  readonly tools: BackendTools;
}

class S3Backend implements StorageBackend {
  readonly name = "s3";
  readonly #client: S3Client;
  readonly #transport: Transport;
  readonly #options: S3Options;
  readonly #settings: CloudSettings;
  readonly #tools: BackendTools;
  readonly #memory = new Places(PARTS_IN_MEMORY);
  #bucketSeenAtMs = -Infinity;

  constructor(parts: S3Parts) {
    this.#client = parts.client;
    this.#transport = parts.transport;
    this.#options = parts.options;
    this.#settings = parts.settings;
    this.#tools = parts.tools;
  }

  capabilities(): StorageCapabilities {
    return CAPABILITIES;
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    return this.#run("upload", request.key, request.signal, async () => {
      const total = request.source.sizeBytes;
      const reader = openSourceReader(request);
      if (total > this.#settings.partBytes) return await this.#multipart(request, reader);
      return await this.#memory.run(() => this.#put(request, reader), request.signal);
    });
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    return this.#run("download", request.key, request.signal, () =>
      downloadInRanges(
        request,
        this.#settings.download,
        (range) => this.#openRange(request, range),
        this.#tools.clock,
      ));
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return this.#run("head", key, signal, async () => {
      const command = new HeadObjectCommand({ ...this.#place(key) });
      try {
        const output = await this.#send(command, signal);
        return this.#infoOf(key, output, output.ContentLength ?? 0, output.dateMs);
      } catch (error) {
        const fault = s3Error("head", key, error, signal);
        if (!(fault instanceof StorageError) || fault.fault !== "not-found") throw error;
        // The answer to a HEAD has no body: an absent bucket looks like an absent object.
        await this.#expectBucket(signal);
        return null;
      }
    });
  }

  delete(request: DeleteRequest): Promise<void> {
    const { key, signal } = request;
    return this.#run("delete", key, signal, async () => {
      const ifMatch = request.ifMatch ?? null;
      if (ifMatch !== null) {
        // Few services know If-Match of DELETE. Objects are never overwritten, so that the
        // moment in between can only find it gone.
        const info = await this.head(key, signal);
        if (info === null) return;
        if (info.etag !== ifMatch) {
          const detail = `it is ${info.etag}`;
          throw new StorageError("precondition", { operation: "delete", key, detail });
        }
      }
      const command = new DeleteObjectCommand({
        ...this.#place(key),
        ...versionOf(request.versionId),
      });
      await this.#send(command, signal);
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    let token: string | null = null;
    do {
      const page: ListObjectsV2CommandOutput & Answered = await retryTransient(
        this.#tools.retry,
        () => this.#page(prefix, token, signal),
        signal,
      );
      for (const object of page.Contents ?? []) {
        signal?.throwIfAborted();
        const key = (object.Key ?? "").slice(this.#settings.prefix.length);
        // Consoles make "directories" of objects whose key ends with a slash.
        if (key === "" || key.endsWith("/")) continue;
        yield {
          key: objectKeyOf(key),
          sizeBytes: object.Size ?? 0,
          etag: object.ETag ?? null,
          storedAtMs: object.LastModified?.getTime() ?? null,
          versionId: null,
          storageClass: object.StorageClass ?? null,
          metadata: null,
          storeNowMs: page.dateMs,
        };
      }
      token = page.IsTruncated === true ? page.NextContinuationToken ?? null : null;
    } while (token !== null);
  }

  close(): Promise<void> {
    this.#client.destroy();
    this.#transport.close();
    return Promise.resolve();
  }

  async #put(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const { key, signal, source } = request;
    const bytes = new Uint8Array(source.sizeBytes);
    await reader.fill(bytes);
    reader.finish();
    const command = new PutObjectCommand({
      ...this.#place(key),
      ...this.#attributes(request),
      ...(request.ifAbsent === false ? {} : { IfNoneMatch: "*" }),
      Body: bytes,
      ContentLength: bytes.length,
    });
    const output = await this.#send(command, signal);
    return this.#sentInfo(request, output);
  }

  async #multipart(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const { key, signal, source } = request;
    const partBytes = this.#partBytes(request);
    const created = await this.#send(
      new CreateMultipartUploadCommand({
        ...this.#place(key),
        ...this.#attributes(request),
      }),
      signal,
    );
    const upload = { ...this.#place(key), UploadId: created.UploadId };
    try {
      const parts = await sendParts({
        totalBytes: source.sizeBytes,
        partBytes,
        reader,
        threads: this.#settings.partThreads,
        memory: this.#memory,
        signal,
      }, async (bytes, index) => {
        const PartNumber = index + 1;
        const part = new UploadPartCommand({ ...upload, PartNumber, Body: bytes });
        const { ETag } = await this.#send(part, signal);
        return { ETag, PartNumber };
      });
      reader.finish();
      const output = await this.#send(
        new CompleteMultipartUploadCommand({
          ...upload,
          MultipartUpload: { Parts: parts },
          ...(request.ifAbsent === false ? {} : { IfNoneMatch: "*" }),
        }),
        signal,
      );
      return this.#sentInfo(request, output);
    } catch (error) {
      // Not under the signal, and whatever it says: the parts cost money until they go.
      await this.#send(new AbortMultipartUploadCommand(upload), undefined).catch(
        () => {},
      );
      throw error;
    }
  }

  #partBytes(request: UploadRequest): number {
    const total = request.source.sizeBytes;
    const partBytes = total > OBJECT_BYTES_MAX
      ? null
      : planPartBytes(total, this.#settings.partBytes, PART_LIMITS);
    if (partBytes !== null) return partBytes;
    throw new StorageError("invalid", {
      operation: "upload",
      key: request.key,
      detail: `it has ${total} bytes, S3 takes ${OBJECT_BYTES_MAX}`,
    });
  }

  async #openRange(request: DownloadRequest, wanted: RangeRequest): Promise<RangeAnswer> {
    const { key } = request;
    const { range, ifMatch, signal } = wanted;
    try {
      const command = new GetObjectCommand({
        ...this.#place(key),
        ...versionOf(request.versionId),
        ...(ifMatch === null ? {} : { IfMatch: ifMatch }),
        ...(range === null ? {} : { Range: `bytes=${range.start}-${range.end - 1}` }),
      });
      const output = await this.#send(command, signal);
      const body = output.Body as unknown as ReadableStream<Uint8Array>;
      const total = range === null
        ? output.ContentLength ?? 0
        : Number(output.ContentRange?.split("/")[1] ?? NaN);
      if (Number.isNaN(total)) {
        await body.cancel().catch(() => {});
        const detail = "the answer to a request for a range does not say of what size";
        throw new StorageError("unavailable", { operation: "download", key, detail });
      }
      const info = this.#infoOf(key, output, total, output.dateMs);
      return { info, body: classified(body, key, signal) };
    } catch (error) {
      throw s3Error("download", key, error, signal);
    }
  }

  async #page(
    prefix: string,
    token: string | null,
    signal: AbortSignal | undefined,
  ): Promise<ListObjectsV2CommandOutput & Answered> {
    const command = new ListObjectsV2Command({
      Bucket: this.#options.bucket,
      Prefix: this.#settings.prefix + prefix,
      ...(token === null ? {} : { ContinuationToken: token }),
    });
    try {
      return await this.#send(command, signal);
    } catch (error) {
      throw s3Error("list", prefix, error, signal);
    }
  }

  async #expectBucket(signal: AbortSignal | undefined): Promise<void> {
    const nowMs = this.#tools.clock.monotonicMs();
    if (nowMs - this.#bucketSeenAtMs < BUCKET_SEEN_MS) return;
    const { bucket: Bucket } = this.#options;
    try {
      await this.#send(new HeadBucketCommand({ Bucket }), signal);
    } catch (error) {
      const fault = s3Error("head", "", error, signal);
      // Who may not look at buckets is told 403 for absent objects too, and never 404.
      if (fault instanceof StorageError && fault.fault === "not-found") {
        (error as Error & { Code?: string }).Code = "NoSuchBucket";
      }
      throw error;
    }
    this.#bucketSeenAtMs = nowMs;
  }

  #place(key: ObjectKey): { Bucket: string; Key: string } {
    return { Bucket: this.#options.bucket, Key: this.#settings.prefix + key };
  }

  #attributes(request: UploadRequest): {
    readonly Metadata: Record<string, string>;
    readonly ContentType: string;
  } {
    const { serverSideEncryption, kmsKeyId = null } = this.#options;
    const storageClass = request.storageClass ?? this.#options.storageClass ?? null;
    return {
      Metadata: encodeMetadata(request.metadata, "-", this.#tools.watermark),
      ContentType: "application/octet-stream",
      ...(storageClass === null ? {} : { StorageClass: storageClass as "STANDARD" }),
      ...(serverSideEncryption !== true
        ? {}
        : kmsKeyId === null
        ? { ServerSideEncryption: "AES256" as const }
        : { ServerSideEncryption: "aws:kms" as const, SSEKMSKeyId: kmsKeyId }),
    };
  }

  #infoOf(
    key: ObjectKey,
    output: {
      ETag?: string | undefined;
      LastModified?: Date | undefined;
      VersionId?: string | undefined;
      StorageClass?: string | undefined;
      Metadata?: Record<string, string> | undefined;
    },
    sizeBytes: number,
    dateMs: number | null,
  ): ObjectInfo {
    return {
      key,
      sizeBytes,
      etag: output.ETag ?? null,
      storedAtMs: output.LastModified?.getTime() ?? null,
      versionId: output.VersionId ?? null,
      storageClass: output.StorageClass ?? null,
      metadata: decodeMetadata(output.Metadata ?? {}, "-"),
      storeNowMs: dateMs,
    };
  }

  #sentInfo(
    request: UploadRequest,
    output: { ETag?: string | undefined; VersionId?: string | undefined } & Answered,
  ): ObjectInfo {
    return {
      key: request.key,
      sizeBytes: request.source.sizeBytes,
      etag: output.ETag ?? null,
      storedAtMs: output.dateMs,
      versionId: output.VersionId ?? null,
      storageClass: request.storageClass ?? this.#options.storageClass ?? null,
      metadata: request.metadata,
      storeNowMs: output.dateMs,
    };
  }

  async #run<T>(
    operation: StorageOperation,
    key: ObjectKey,
    signal: AbortSignal | undefined,
    body: () => Promise<T>,
  ): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await body();
    } catch (error) {
      throw s3Error(operation, key, error, signal);
    }
  }

  /** Sends a command, and adds the store's clock to its output. */
  async #send<Input extends object, Output extends object>(
    command: Command<Input, Output>,
    signal: AbortSignal | undefined,
  ): Promise<Output & Answered> {
    let dateMs: number | null = null;
    command.middlewareStack.add(
      (next: (args: object) => Promise<{ response: unknown }>) =>
      async (
        args: object,
      ) => {
        const result = await next(args);
        const { headers } = result.response as { headers?: Record<string, string> };
        dateMs = dateMsOf(headers?.date);
        return result;
      },
      { step: "deserialize", priority: "low", name: "p4cacheDate" },
    );
    const options = signal === undefined ? {} : { abortSignal: signal };
    // The SDK's own overloads know only its union of commands.
    const send = this.#client.send.bind(this.#client) as unknown as (
      command: unknown,
      options: object,
    ) => Promise<Output>;
    return { ...await send(command, options), dateMs };
  }
}

/** The store's clock at its answer. */
interface Answered {
  readonly dateMs: number | null;
}

/** The part of an SDK command that is the same in all of them. */
interface Command<Input extends object, Output extends object> {
  readonly input: Input;
  // deno-lint-ignore no-explicit-any -- each command has its own type of stack
  readonly middlewareStack: { add(middleware: any, options: any): void };
  // deno-lint-ignore no-explicit-any -- carries the type of the output only
  resolveMiddleware(...args: any[]): (...args: any[]) => Promise<{ output: Output }>;
}

function versionOf(versionId: string | null | undefined): { VersionId?: string } {
  return versionId === null || versionId === undefined ? {} : { VersionId: versionId };
}

/** `body`, with its errors in our words. */
function classified(
  body: ReadableStream<Uint8Array>,
  key: string,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream({
    async pull(controller): Promise<void> {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(s3Error("download", key, error, signal));
      }
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}
