/**
 * A store in a bucket of Google Cloud Storage.
 *
 * @module
 */

import { type ObjectKey, objectKeyOf } from "../../core/names.ts";
import { readableAtOnce } from "../archive.ts";
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
import type { BackendTools, GcsOptions } from "../backend_options.ts";
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
import { gcsError } from "./gcs_errors.ts";
import { infoOfObject } from "./gcs_info.ts";
import { type Answered, type GcsObjectPage, GcsRequests } from "./gcs_requests.ts";
import { openTokenSource } from "./gcs_tokens.ts";
import { GcsUpload, OBJECT_BYTES_MAX } from "./gcs_upload.ts";

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
export async function openGcsBackend(
  options: GcsOptions,
  tools: BackendTools,
): Promise<StorageBackend> {
  if (options.bucket === "") throw new SettingsError("bucket is empty");
  const settings = planCloudSettings(options);
  const openTransportTo = (hosts: HostRule): Promise<Transport> =>
    openTransport({
      caCertPath: settings.caCertPath,
      hosts,
      clock: tools.clock,
      stallMs: settings.stallMs,
      idleConnectionsMax: 64,
    });
  const transport = await openTransportTo(
    hostRuleFor(settings.endpoint, options.bucket, /^storage\.googleapis\.com$/),
  );
  const tokens = openTokenSource(options.credentialsFile ?? null, {
    clock: tools.clock,
    stallMs: settings.stallMs,
    openTransport: (host) =>
      openTransportTo({
        allows: (other) => other === host,
        description: `tokens come from ${host} only`,
      }),
  });
  const requests = new GcsRequests({
    base: settings.endpoint ?? "https://storage.googleapis.com",
    options,
    transport,
    tokens,
    userAgent: tools.userAgent,
  });
  return new GcsBackend(requests, { options, settings, tools }, () => {
    tokens.close();
    transport.close();
  });
}

interface GcsContext {
  readonly options: GcsOptions;
  readonly settings: CloudSettings;
  readonly tools: BackendTools;
}

class GcsBackend implements StorageBackend {
  readonly name = "gcs";
  readonly #requests: GcsRequests;
  readonly #settings: CloudSettings;
  readonly #tools: BackendTools;
  readonly #upload: GcsUpload;
  readonly #downloads: DownloadTools;
  readonly #close: () => void;

  constructor(requests: GcsRequests, context: GcsContext, close: () => void) {
    this.#requests = requests;
    this.#settings = context.settings;
    this.#tools = context.tools;
    this.#close = close;
    this.#downloads = downloadTools(context.tools.clock);
    this.#upload = new GcsUpload({
      requests,
      settings: context.settings,
      retry: context.tools.retry,
      storageClass: context.options.storageClass ?? null,
      watermark: context.tools.watermark,
    });
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
    return translated("download", request, () => this.#download(request));
  }

  async head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    try {
      return await translated("head", { key, signal }, () => this.#describe(key, signal));
    } catch (error) {
      if (error instanceof StorageError && error.fault === "not-found") return null;
      throw error;
    }
  }

  /** Every class of Google can be read at once, Archive too. */
  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return readableAtOnce(this, request);
  }

  async delete(request: DeleteRequest): Promise<void> {
    const { key, signal, ifMatch = null, versionId = null } = request;
    try {
      await translated("delete", request, () =>
        this.#requests.remove(
          this.#settings.prefix + key,
          { generation: versionId, ifGenerationMatch: ifMatch },
          signal,
        ));
    } catch (error) {
      if (error instanceof StorageError && error.fault === "not-found") return;
      throw error;
    }
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    let token: string | null = null;
    do {
      const page: Answered<GcsObjectPage> = await retryTransient(
        this.#tools.retry,
        () =>
          translated(
            "list",
            { key: prefix, signal },
            () => this.#requests.page(this.#settings.prefix + prefix, token, signal),
          ),
        signal,
      );
      for (const object of page.value.items ?? []) {
        signal?.throwIfAborted();
        // Consoles make "directories" of objects whose name ends with a slash.
        if (object.name.endsWith("/")) continue;
        const key = objectKeyOf(object.name.slice(this.#settings.prefix.length));
        yield { ...infoOfObject(key, object, page.dateMs), metadata: null };
      }
      token = page.value.nextPageToken ?? null;
    } while (token !== null);
  }

  close(): Promise<void> {
    this.#close();
    return Promise.resolve();
  }

  /**
   * The metadata first: the answer with the bytes does not have it. Then every request for
   * bytes names the generation, so that all are of one object.
   */
  async #download(request: DownloadRequest): Promise<DownloadResult> {
    const { key, ifMatch = null, versionId = null, signal } = request;
    const info = await this.#describe(key, signal, versionId);
    if (ifMatch !== null && ifMatch !== info.etag) {
      const detail = `it is generation ${info.etag}`;
      throw new StorageError("precondition", { operation: "download", key, detail });
    }
    return await downloadInRanges(
      request,
      this.#settings.download,
      (wanted) => this.#openRange(info, wanted),
      this.#downloads,
    );
  }

  async #openRange(info: ObjectInfo, wanted: RangeRequest): Promise<RangeAnswer> {
    const { key } = info;
    const { range, signal } = wanted;
    try {
      const body = await this.#requests.media(
        this.#settings.prefix + key,
        { generation: info.etag },
        range,
        signal,
      );
      const mapped = mappedBody(
        body,
        (error) => gcsError("download", key, error, signal),
      );
      return { info, body: mapped };
    } catch (error) {
      const fault = gcsError("download", key, error, signal);
      if (!(fault instanceof StorageError) || fault.fault !== "not-found") throw fault;
      // It was there a moment ago: this generation is gone, another may have come.
      const detail = `generation ${info.etag} is gone`;
      throw new StorageError("precondition", { operation: "download", key, detail });
    }
  }

  async #describe(
    key: ObjectKey,
    signal: AbortSignal | undefined,
    generation: string | null = null,
  ): Promise<ObjectInfo> {
    const name = this.#settings.prefix + key;
    const { value, dateMs } = await this.#requests.describe(name, { generation }, signal);
    return fromTheStore(infoOfObject(key, value, dateMs), "head");
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
    throw gcsError(operation, request.key, error, request.signal);
  }
}
