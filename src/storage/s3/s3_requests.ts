/**
 * The requests of S3 that we make, one method each, in our terms.
 *
 * Names, headers and output fields of S3 are known here only. Errors leave as the SDK's;
 * the backend translates them once, at its edge.
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
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  RestoreObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { createHash } from "node:crypto";
import { type ObjectKey, objectKeyOf } from "../../core/names.ts";
import type {
  ObjectInfo,
  RetrieveSpeed,
  RetrieveState,
  UploadRequest,
} from "../backend.ts";
import type { S3Options } from "../backend_options.ts";
import { type Body, type Exchange, takeBody } from "../http/body.ts";
import { dateMsOf } from "../http/http_fault.ts";
import { type BegunPage, nextBegunOf } from "./s3_abandoned.ts";
import { archiveStateOf, isUnderWay, restoreRequestOf } from "./s3_archive.ts";
import { isMd5Wanted } from "./s3_errors.ts";
import { type Answered, infoOf, nextTokenOf } from "./s3_info.ts";
import { encodeMetadata } from "../object_metadata.ts";
import type { ByteRange } from "../plan_ranges.ts";

/** One part of a multipart upload, as CompleteMultipartUpload wants it. */
export interface SentPart {
  readonly ETag: string | undefined;
  readonly PartNumber: number;
}

/** A multipart upload that was begun. */
export interface PartsUpload {
  readonly Bucket: string;
  readonly Key: string;
  readonly UploadId: string | undefined;
}

export interface ObjectPage {
  readonly infos: readonly ObjectInfo[];
  /** Null: this was the last page. */
  readonly nextToken: string | null;
}

export interface ObjectBody {
  readonly info: ObjectInfo;
  readonly body: Body;
}

export class S3Requests {
  readonly #client: S3Client;
  readonly #options: S3Options;
  readonly #prefix: string;
  readonly #watermark: Readonly<Record<string, string>>;
  /** Not before the bucket has asked: it costs about three times what the SHA-256 does. */
  #sendsMd5 = false;

  /** @param prefix "" or ends with a slash. */
  constructor(
    client: S3Client,
    options: S3Options,
    prefix: string,
    watermark: Readonly<Record<string, string>>,
  ) {
    this.#client = client;
    this.#options = options;
    this.#prefix = prefix;
    this.#watermark = watermark;
  }

  /** @param onlyIfNew Sends If-None-Match. */
  async put(
    request: UploadRequest,
    bytes: Uint8Array<ArrayBuffer>,
    onlyIfNew: boolean,
  ): Promise<ObjectInfo> {
    const output = await this.#sendContent(
      bytes,
      (content) =>
        new PutObjectCommand({
          ...this.#place(request.key),
          ...this.#attributes(request),
          ...ifNoneMatch(onlyIfNew),
          ...content,
          ContentLength: bytes.length,
        }),
      request.signal,
    );
    return this.#sentInfo(request, output);
  }

  /** Puts an empty object, if there is none at `key`. */
  async putEmpty(key: ObjectKey): Promise<void> {
    await this.#sendContent(
      new Uint8Array(0),
      (content) =>
        new PutObjectCommand({ ...this.#place(key), ...content, IfNoneMatch: "*" }),
      undefined,
    );
  }

  async beginParts(request: UploadRequest): Promise<PartsUpload> {
    const place = this.#place(request.key);
    const command = new CreateMultipartUploadCommand({
      ...place,
      ...this.#attributes(request),
    });
    const { UploadId } = await this.#send(command, request.signal);
    return { ...place, UploadId };
  }

  async putPart(
    upload: PartsUpload,
    bytes: Uint8Array<ArrayBuffer>,
    index: number,
    signal: AbortSignal | undefined,
  ): Promise<SentPart> {
    const PartNumber = index + 1;
    const { ETag } = await this.#sendContent(
      bytes,
      (content) => new UploadPartCommand({ ...upload, PartNumber, ...content }),
      signal,
    );
    return { ETag, PartNumber };
  }

  /** @param onlyIfNew Sends If-None-Match. */
  async finishParts(
    upload: PartsUpload,
    parts: SentPart[],
    request: UploadRequest,
    onlyIfNew: boolean,
  ): Promise<ObjectInfo> {
    const command = new CompleteMultipartUploadCommand({
      ...upload,
      ...ifNoneMatch(onlyIfNew),
      MultipartUpload: {
        Parts: parts.map(({ ETag, PartNumber }) => ({
          PartNumber,
          ...(ETag === undefined ? {} : { ETag }),
        })),
      },
    });
    return this.#sentInfo(request, await this.#send(command, request.signal));
  }

  async abortParts(upload: PartsUpload): Promise<void> {
    await this.#send(new AbortMultipartUploadCommand(upload), undefined);
  }

  /** Multipart uploads under our prefix that were neither completed nor aborted. */
  async begunUploads(from: BegunPage["next"], signal: AbortSignal): Promise<BegunPage> {
    const Bucket = this.#options.bucket;
    const command = new ListMultipartUploadsCommand({
      Bucket,
      Prefix: this.#prefix,
      ...(from === null ? {} : { KeyMarker: from.key, UploadIdMarker: from.uploadId }),
    });
    const output = await this.#send(command, signal);
    const uploads = (output.Uploads ?? []).map(({ Key = "", UploadId, Initiated }) => ({
      upload: { Bucket, Key, UploadId },
      key: Key.slice(this.#prefix.length),
      begunAtMs: Initiated?.getTime() ?? null,
    }));
    return { uploads, next: nextBegunOf(output, from), nowMs: output.dateMs };
  }

  async head(key: ObjectKey, signal: AbortSignal | undefined): Promise<ObjectInfo> {
    const output = await this.#send(new HeadObjectCommand(this.#place(key)), signal);
    const archive = archiveStateOf(output);
    const info = infoOf(key, output, output.ContentLength ?? 0);
    return archive === null ? info : { ...info, archive };
  }

  /** Asks for an archived object. */
  async restore(
    { key, storageClass }: ObjectInfo,
    { speed, days, signal }: {
      readonly speed: RetrieveSpeed;
      readonly days: number;
      readonly signal: AbortSignal | undefined;
    },
  ): Promise<RetrieveState> {
    const command = new RestoreObjectCommand({
      ...this.#place(key),
      RestoreRequest: restoreRequestOf(storageClass, speed, days),
    });
    try {
      await this.#send(command, signal);
    } catch (error) {
      if (!isUnderWay(error)) throw error;
    }
    return "retrieving";
  }

  async headBucket(signal: AbortSignal | undefined): Promise<void> {
    await this.#send(new HeadBucketCommand({ Bucket: this.#options.bucket }), signal);
  }

  /** Null: the answer does not say of what size the object is. */
  async get(
    key: ObjectKey,
    wanted: {
      readonly versionId: string | null;
      readonly ifMatch: string | null;
      readonly range: ByteRange | null;
      readonly signal: AbortSignal;
    },
  ): Promise<ObjectBody | null> {
    const { versionId, ifMatch, range, signal } = wanted;
    const command = new GetObjectCommand({
      ...this.#place(key),
      ...(versionId === null ? {} : { VersionId: versionId }),
      ...(ifMatch === null ? {} : { IfMatch: ifMatch }),
      ...(range === null ? {} : { Range: `bytes=${range.start}-${range.end - 1}` }),
    });
    const { output, body } = await takeBody((exchange) =>
      this.#send(command, signal, exchange)
    );
    const total = range === null
      ? output.ContentLength
      : Number(output.ContentRange?.split("/")[1] ?? NaN);
    if (total !== undefined && Number.isSafeInteger(total)) {
      return { info: infoOf(key, output, total), body };
    }
    body.cancel();
    return null;
  }

  async remove(
    key: ObjectKey,
    versionId: string | null,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const version = versionId === null ? {} : { VersionId: versionId };
    await this.#send(
      new DeleteObjectCommand({ ...this.#place(key), ...version }),
      signal,
    );
  }

  /** Null: the answer is no listing, not even an empty one. */
  async page(
    prefix: string,
    token: string | null,
    signal: AbortSignal | undefined,
  ): Promise<ObjectPage | null> {
    const output = await this.#send(
      new ListObjectsV2Command({
        Bucket: this.#options.bucket,
        Prefix: this.#prefix + prefix,
        ...(token === null ? {} : { ContinuationToken: token }),
      }),
      signal,
    );
    if (output.IsTruncated === undefined) return null;
    const infos = (output.Contents ?? [])
      // Consoles make "directories" of objects whose key ends with a slash.
      .filter(({ Key = "" }) => Key !== this.#prefix && !Key.endsWith("/"))
      .map(({ Key = "", Size, ETag, LastModified, StorageClass }): ObjectInfo => ({
        ...infoOf(
          objectKeyOf(Key.slice(this.#prefix.length)),
          { ETag, LastModified, StorageClass, dateMs: output.dateMs },
          Size ?? 0,
        ),
        metadata: null,
      }));
    return { infos, nextToken: nextTokenOf(output, prefix) };
  }

  #place(key: ObjectKey): { Bucket: string; Key: string } {
    return { Bucket: this.#options.bucket, Key: this.#prefix + key };
  }

  #attributes(request: UploadRequest): {
    readonly Metadata: Record<string, string>;
    readonly ContentType: string;
  } {
    const { serverSideEncryption, kmsKeyId = null } = this.#options;
    const storageClass = request.storageClass ?? this.#options.storageClass ?? null;
    return {
      Metadata: encodeMetadata(request.metadata, "-", this.#watermark),
      ContentType: "application/octet-stream",
      ...(storageClass === null ? {} : { StorageClass: storageClass as "STANDARD" }),
      ...(serverSideEncryption !== true
        ? {}
        : kmsKeyId === null
        ? { ServerSideEncryption: "AES256" as const }
        : { ServerSideEncryption: "aws:kms" as const, SSEKMSKeyId: kmsKeyId }),
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

  /**
   * Sends a request with content, and with its MD5 too once the bucket has asked for one.
   *
   * @param commandOf Called anew for each time that it is sent.
   */
  async #sendContent<Input extends object, Output extends object>(
    bytes: Uint8Array<ArrayBuffer>,
    commandOf: (content: Content) => Command<Input, Output>,
    signal: AbortSignal | undefined,
  ): Promise<Output & Answered> {
    if (!this.#sendsMd5) {
      try {
        return await this.#send(commandOf({ Body: bytes }), signal);
      } catch (error) {
        if (!isMd5Wanted(error)) throw error;
        this.#sendsMd5 = true;
      }
    }
    const ContentMD5 = createHash("md5").update(bytes).digest("base64");
    return await this.#send(commandOf({ Body: bytes, ContentMD5 }), signal);
  }

  /**
   * Sends a command, and adds the store's clock to its output. `exchange` runs the request
   * alone, without what the SDK asks before it: credentials.
   */
  async #send<Input extends object, Output extends object>(
    command: Command<Input, Output>,
    signal: AbortSignal | undefined,
    exchange: Exchange = (request) => request(),
  ): Promise<Output & Answered> {
    let dateMs: number | null = null;
    command.middlewareStack.add(
      (next: (args: object) => Promise<{ response: unknown }>) =>
      async (
        args: object,
      ) => {
        const result = await exchange(() => next(args));
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

/** Of a request's body. */
interface Content {
  readonly Body: Uint8Array<ArrayBuffer>;
  /** Base64. */
  readonly ContentMD5?: string;
}

/** The part of an SDK command that is the same in all of them. */
interface Command<Input extends object, Output extends object> {
  readonly input: Input;
  // deno-lint-ignore no-explicit-any -- each command has its own type of stack
  readonly middlewareStack: { add(middleware: any, options: any): void };
  // deno-lint-ignore no-explicit-any -- carries the type of the output only
  resolveMiddleware(...args: any[]): (...args: any[]) => Promise<{ output: Output }>;
}

function ifNoneMatch(onlyIfNew: boolean): { IfNoneMatch?: "*" } {
  return onlyIfNew ? { IfNoneMatch: "*" } : {};
}
