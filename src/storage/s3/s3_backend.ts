/**
 * A store in a bucket of S3, or of a service that speaks S3.
 *
 * Uploads are s3_upload.ts's, requests s3_requests.ts's. Bodies are signed with their
 * SHA-256, which the service verifies.
 *
 * @module
 */

import type { ObjectKey } from "../../core/names.ts";
import { absent } from "../archive.ts";
import type {
  DeleteRequest,
  DownloadRequest,
  DownloadResult,
  ObjectInfo,
  RetrieveRequest,
  RetrieveState,
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
import { mappedBody } from "../http/body.ts";
import { fromTheStore } from "../http/http_fault.ts";
import { type HostRule, openTransport, type Transport } from "../http/transport.ts";
import {
  downloadInRanges,
  type DownloadTools,
  downloadTools,
  type RangeAnswer,
  type RangeRequest,
} from "../range_download.ts";
import { retryTransient } from "../retrying_backend.ts";
import { StorageError, type StorageOperation } from "../storage_error.ts";
import { createS3Client } from "./s3_client.ts";
import { hasRequestId, s3Error } from "./s3_errors.ts";
import { type ObjectPage, S3Requests } from "./s3_requests.ts";
import { OBJECT_BYTES_MAX, S3Upload } from "./s3_upload.ts";

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
  const transportTo = (hosts: HostRule): Promise<Transport> =>
    openTransport({
      caCertPath: settings.caCertPath,
      hosts,
      clock: tools.clock,
      stallMs: settings.stallMs,
      idleConnectionsMax: 64,
    });
  const vendor = /\.amazonaws\.com(?:\.cn)?(?::443)?$/;
  const transports = {
    store: await transportTo(hostRuleFor(settings.endpoint, options.bucket, vendor)),
    // Where credentials come from is said by the machine's own environment.
    credentials: await transportTo({ allows: () => true, description: "any host" }),
  };
  const client = createS3Client(options, settings, transports, tools.userAgent);
  const requests = new S3Requests(client, options, settings.prefix, tools.watermark);
  const close = (): void => {
    client.destroy();
    transports.store.close();
    transports.credentials.close();
  };
  return new S3Backend(requests, settings, tools, close);
}

class S3Backend implements StorageBackend {
  readonly name = "s3";
  readonly #requests: S3Requests;
  readonly #settings: CloudSettings;
  readonly #tools: BackendTools;
  readonly #upload: S3Upload;
  readonly #downloads: DownloadTools;
  readonly #close: () => void;
  #bucketSeenAtMs = -Infinity;

  constructor(
    requests: S3Requests,
    settings: CloudSettings,
    tools: BackendTools,
    close: () => void,
  ) {
    this.#requests = requests;
    this.#settings = settings;
    this.#tools = tools;
    this.#close = close;
    this.#downloads = downloadTools(tools.clock);
    const look = this.#look.bind(this);
    const { onWarning, clock, retry } = tools;
    this.#upload = new S3Upload({ requests, settings, retry, look, onWarning, clock });
  }

  capabilities(): StorageCapabilities {
    return CAPABILITIES;
  }

  upload(request: UploadRequest): Promise<ObjectInfo> {
    return translated(
      "upload",
      request,
      async () => fromTheStore(await this.#upload.run(request), "upload"),
    );
  }

  download(request: DownloadRequest): Promise<DownloadResult> {
    return translated("download", request, () =>
      downloadInRanges(
        request,
        this.#settings.download,
        (range) => this.#openRange(request, range),
        this.#downloads,
      ));
  }

  head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    return translated("head", { key, signal }, () => this.#look(key, signal));
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return translated("retrieve", request, () => this.#retrieve(request));
  }

  delete(request: DeleteRequest): Promise<void> {
    const { key, signal, ifMatch = null, versionId = null } = request;
    return translated("delete", request, async () => {
      if (ifMatch !== null) {
        // Few services know If-Match of DELETE. Objects are never overwritten, so that the moment
        // in between can only find it gone. A request that goes unanswered has no such moment, and
        // may find what has the key much later: who asks keeps the key free (`onUnanswered`).
        const info = await this.#look(key, signal);
        if (info === null) return;
        if (info.etag !== ifMatch) {
          const detail = `it is ${info.etag}`;
          throw new StorageError("precondition", { operation: "delete", key, detail });
        }
      }
      await this.#requests.remove(key, versionId, signal);
    });
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    let token: string | null = null;
    do {
      const page: ObjectPage = await retryTransient(
        this.#tools.retry,
        () => this.#page(prefix, token, signal),
        signal,
      );
      for (const info of page.infos) {
        signal?.throwIfAborted();
        yield info;
      }
      token = page.nextToken;
    } while (token !== null);
  }

  #page(
    prefix: string,
    token: string | null,
    signal: AbortSignal | undefined,
  ): Promise<ObjectPage> {
    return translated("list", { key: prefix, signal }, async () => {
      const page = await this.#requests.page(prefix, token, signal);
      if (page !== null) return page;
      const detail = "the answer is no listing: it is of something in between";
      throw new StorageError("unavailable", { operation: "list", key: prefix, detail });
    });
  }

  close(): Promise<void> {
    this.#upload.close();
    this.#close();
    return Promise.resolve();
  }

  async #retrieve({ key, speed, days, signal }: RetrieveRequest): Promise<RetrieveState> {
    const info = await this.#look(key, signal);
    if (info === null) throw absent(key);
    const { archive } = info;
    if (archive === undefined || archive === "retrieved") return "readable";
    if (archive === "retrieving") return "retrieving";
    return await this.#requests.restore(info, { speed, days, signal });
  }

  async #look(
    key: ObjectKey,
    signal: AbortSignal | undefined,
  ): Promise<ObjectInfo | null> {
    try {
      return fromTheStore(await this.#requests.head(key, signal), "head");
    } catch (error) {
      const known = s3Error("head", key, error, signal);
      if (!isNotFound(known)) throw known;
      // The answer to a HEAD has no body: an absent bucket looks like an absent object, and
      // something in between like the store, but for the number that each request gets.
      if (!hasRequestId(error)) this.#bucketSeenAtMs = -Infinity;
      await this.#expectBucket(signal);
      return null;
    }
  }

  async #expectBucket(signal: AbortSignal | undefined): Promise<void> {
    const nowMs = this.#tools.clock.monotonicMs();
    if (nowMs - this.#bucketSeenAtMs < BUCKET_SEEN_MS) return;
    try {
      await this.#requests.headBucket(signal);
    } catch (error) {
      // Who may not look at buckets is told 403 for absent objects too, and never 404.
      if (isNotFound(s3Error("head", "", error, signal))) {
        (error as Error & { Code?: string }).Code = "NoSuchBucket";
      }
      throw error;
    }
    this.#bucketSeenAtMs = nowMs;
  }

  async #openRange(request: DownloadRequest, wanted: RangeRequest): Promise<RangeAnswer> {
    const { key, versionId = null } = request;
    const { signal } = wanted;
    return await translated("download", { key, signal }, async () => {
      const got = await this.#requests.get(key, { ...wanted, versionId });
      if (got !== null) {
        const body = mappedBody(
          got.body,
          (error) => s3Error("download", key, error, signal),
        );
        return { info: fromTheStore(got.info, "download"), body };
      }
      const detail = "the answer does not say of what size the object is";
      throw new StorageError("unavailable", { operation: "download", key, detail });
    });
  }
}

async function translated<T>(
  operation: StorageOperation,
  request: { readonly key: string; readonly signal?: AbortSignal | undefined },
  body: () => Promise<T>,
): Promise<T> {
  try {
    request.signal?.throwIfAborted();
    return await body();
  } catch (error) {
    throw s3Error(operation, request.key, error, request.signal);
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof StorageError && error.fault === "not-found";
}
