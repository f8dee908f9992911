/**
 * A store in a container of Azure Blob Storage, of block blobs.
 *
 * Each body carries its MD5, which the service verifies. If-None-Match and If-Match are
 * enforced by the service, for blocks too.
 *
 * @module
 */

import type {
  BlobDownloadOptions,
  BlobGetPropertiesResponse,
  ContainerClient,
  ContainerListBlobFlatSegmentResponse,
} from "@azure/storage-blob";
import { type ObjectKey, objectKeyOf } from "../../core/names.ts";
import { absent } from "../archive.ts";
import type {
  ArchiveState,
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
import type { AzureOptions, BackendTools } from "../backend_options.ts";
import {
  type CloudSettings,
  hostRuleFor,
  planCloudSettings,
  SettingsError,
} from "../cloud_settings.ts";
import { mappedBody, takeBody } from "../http/body.ts";
import { fromTheStore } from "../http/http_fault.ts";
import { openTransport, type Transport } from "../http/transport.ts";
import { decodeMetadata } from "../object_metadata.ts";
import {
  downloadInRanges,
  type DownloadTools,
  downloadTools,
  type RangeAnswer,
  type RangeRequest,
} from "../range_download.ts";
import { retryTransient } from "../retrying_backend.ts";
import { StorageError, type StorageOperation } from "../storage_error.ts";
import { createContainerClient, expiryWatch } from "./azure_client.ts";
import { azureError, isOfCurrentVersion } from "./azure_errors.ts";
import { AzureUpload, OBJECT_BYTES_MAX } from "./azure_upload.ts";

const PAGE_OBJECTS = 5_000;

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
export async function openAzureBackend(
  options: AzureOptions,
  tools: BackendTools,
): Promise<StorageBackend> {
  if (options.container === "") throw new SettingsError("container is empty");
  if (options.accountName === "") throw new SettingsError("account_name is empty");
  const settings = planCloudSettings(options);
  const watchExpiry = expiryWatch(options, tools);
  watchExpiry();
  const opened = await openTransport({
    caCertPath: settings.caCertPath,
    hosts: hostRuleFor(
      settings.endpoint,
      "",
      /\.blob\.(?:core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net)$/,
    ),
    clock: tools.clock,
    stallMs: settings.stallMs,
    idleConnectionsMax: 64,
  });
  const transport: Transport = {
    send(request): ReturnType<Transport["send"]> {
      watchExpiry();
      return opened.send(request);
    },
    close: () => opened.close(),
  };
  const container = await createContainerClient(
    options,
    settings,
    transport,
    tools,
  );
  return new AzureBackend(
    container,
    { options, settings, tools },
    () => transport.close(),
  );
}

interface AzureContext {
  readonly options: AzureOptions;
  readonly settings: CloudSettings;
  readonly tools: BackendTools;
}

class AzureBackend implements StorageBackend {
  readonly name = "azure";
  readonly #container: ContainerClient;
  readonly #settings: CloudSettings;
  readonly #storageClass: string | null;
  readonly #tools: BackendTools;
  readonly #upload: AzureUpload;
  readonly #downloads: DownloadTools;
  readonly #close: () => void;

  constructor(container: ContainerClient, context: AzureContext, close: () => void) {
    this.#container = container;
    this.#settings = context.settings;
    this.#storageClass = context.options.storageClass ?? null;
    this.#tools = context.tools;
    this.#close = close;
    this.#downloads = downloadTools(context.tools.clock);
    this.#upload = new AzureUpload({
      container,
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
    return translated("download", request, () =>
      downloadInRanges(
        request,
        this.#settings.download,
        (range) => this.#openRange(request, range),
        this.#downloads,
      ));
  }

  async head(key: ObjectKey, signal?: AbortSignal): Promise<ObjectInfo | null> {
    try {
      return await translated("head", { key, signal }, async () => {
        const abort = signal === undefined ? {} : { abortSignal: signal };
        const output = await this.#blob(key).getProperties(abort);
        return fromTheStore(infoOf(key, output), "head");
      });
    } catch (error) {
      if (error instanceof StorageError && error.fault === "not-found") return null;
      throw error;
    }
  }

  retrieve(request: RetrieveRequest): Promise<RetrieveState> {
    return translated("retrieve", request, () => this.#retrieve(request));
  }

  async delete(request: DeleteRequest): Promise<void> {
    try {
      await translated("delete", request, () => this.#delete(request));
    } catch (error) {
      if (error instanceof StorageError && error.fault === "not-found") return;
      throw error;
    }
  }

  async *list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo> {
    let token: string | undefined;
    do {
      const page = await retryTransient(
        this.#tools.retry,
        () =>
          translated(
            "list",
            { key: prefix, signal },
            () => this.#page(prefix, token, signal),
          ),
        signal,
      );
      for (const { name, properties } of page.segment.blobItems) {
        signal?.throwIfAborted();
        yield {
          key: objectKeyOf(name.slice(this.#settings.prefix.length)),
          sizeBytes: properties.contentLength ?? 0,
          etag: quoted(properties.etag),
          storedAtMs: properties.lastModified.getTime(),
          versionId: null,
          storageClass: properties.accessTier ?? null,
          metadata: null,
          storeNowMs: page.date?.getTime() ?? null,
        };
      }
      token = page.continuationToken === "" ? undefined : page.continuationToken;
    } while (token !== undefined);
  }

  close(): Promise<void> {
    this.#close();
    return Promise.resolve();
  }

  async #delete(request: DeleteRequest): Promise<void> {
    const { key, signal, ifMatch = null, versionId = null } = request;
    const always = signal === undefined ? {} : { abortSignal: signal };
    const conditions = ifMatch === null ? {} : { ifMatch };
    const matching = { ...always, conditions };
    const blob = this.#blob(key);
    if (versionId === null) return void await blob.delete(matching);
    const version = blob.withVersion(versionId);
    try {
      return void await version.delete(matching);
    } catch (error) {
      if (ifMatch === null || !isOfCurrentVersion(error)) throw error;
    }
    // The current version cannot be named: once its blob is deleted it is a previous one.
    await blob.delete(matching);
    await version.delete(always);
  }

  async #retrieve({ key, speed, signal }: RetrieveRequest): Promise<RetrieveState> {
    const info = await this.head(key, signal);
    if (info === null) throw absent(key);
    if (info.archive === undefined) return "readable";
    if (info.archive === "retrieving") return "retrieving";
    // Azure moves the blob for good; there is no copy for some days.
    await this.#blob(key).setAccessTier(onlineTierOf(this.#storageClass), {
      rehydratePriority: speed === "expedited" ? "High" : "Standard",
      ...(signal === undefined ? {} : { abortSignal: signal }),
    });
    return (await this.head(key, signal))?.archive === undefined
      ? "readable"
      : "retrieving";
  }

  async #page(
    prefix: string,
    token: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ContainerListBlobFlatSegmentResponse> {
    const pages = this.#container.listBlobsFlat({
      prefix: this.#settings.prefix + prefix,
      ...(signal === undefined ? {} : { abortSignal: signal }),
    })
      .byPage({
        maxPageSize: PAGE_OBJECTS,
        ...(token === undefined ? {} : { continuationToken: token }),
      });
    const { value } = await pages.next().catch((error) => {
      // The SDK trips over an answer that is no listing: a page of something in between.
      if (!(error instanceof TypeError)) throw error;
      const detail = `the answer is no listing (${error.message})`;
      throw new StorageError("unavailable", { operation: "list", key: prefix, detail });
    });
    return value;
  }

  async #openRange(request: DownloadRequest, wanted: RangeRequest): Promise<RangeAnswer> {
    const { key, versionId = null } = request;
    const { range, ifMatch, signal } = wanted;
    return await translated("download", { key, signal }, async () => {
      const current = this.#blob(key);
      const blob = versionId === null ? current : current.withVersion(versionId);
      const options: BlobDownloadOptions = {
        abortSignal: signal,
        maxRetryRequests: 0,
        ...(ifMatch === null ? {} : { conditions: { ifMatch } }),
      };
      // Tokens are asked for over connections of the library's own.
      const { output, body } = await takeBody((exchange) =>
        exchange(() =>
          range === null
            ? blob.download(0, undefined, options)
            : blob.download(range.start, range.end - range.start, options)
        )
      );
      const total = range === null
        ? output.contentLength
        : Number(output.contentRange?.split("/")[1] ?? NaN);
      if (total === undefined || !Number.isSafeInteger(total)) {
        body.cancel();
        const detail = "the answer does not say of what size the object is";
        throw new StorageError("unavailable", { operation: "download", key, detail });
      }
      // Its fields are getters, which a spread would leave out; GET tells no tier.
      const { etag, lastModified, metadata, versionId: version, date } = output;
      const info = infoOf(key, {
        contentLength: total,
        etag,
        lastModified,
        metadata,
        versionId: version,
        date,
      });
      const mapped = mappedBody(
        body,
        (error) => azureError("download", key, error, signal),
      );
      return { info: fromTheStore(info, "download"), body: mapped };
    });
  }

  #blob(key: ObjectKey): ReturnType<ContainerClient["getBlobClient"]> {
    return this.#container.getBlobClient(this.#settings.prefix + key);
  }
}

/** What is the same in the answers to HEAD and GET. */
type Described = {
  readonly [
    Field in
      | "etag"
      | "contentLength"
      | "lastModified"
      | "date"
      | "versionId"
      | "accessTier"
      | "archiveStatus"
      | "metadata"
  ]?: BlobGetPropertiesResponse[Field] | undefined;
};

function infoOf(
  key: ObjectKey,
  output: Described,
): ObjectInfo {
  const archive = archiveStateOf(output);
  return {
    key,
    sizeBytes: output.contentLength ?? 0,
    etag: quoted(output.etag),
    storedAtMs: output.lastModified?.getTime() ?? null,
    versionId: output.versionId ?? null,
    storageClass: output.accessTier ?? null,
    metadata: decodeMetadata(output.metadata ?? {}, "_"),
    storeNowMs: output.date?.getTime() ?? null,
    ...(archive === null ? {} : { archive }),
  };
}

/** Null: it can be read. Until it can, it stays in the tier Archive. */
function archiveStateOf({ accessTier, archiveStatus }: Described): ArchiveState | null {
  if (accessTier !== "Archive") return null;
  return archiveStatus?.startsWith("rehydrate-pending") ? "retrieving" : "archived";
}

/** Where a blob goes that leaves Archive: where new ones go, if they can be read there. */
function onlineTierOf(storageClass: string | null): "Hot" | "Cool" | "Cold" {
  return storageClass === "Cool" || storageClass === "Cold" ? storageClass : "Hot";
}

/** Listings leave out the quotes that every other answer has. */
function quoted(etag: string | undefined): string | null {
  if (etag === undefined || etag === "") return null;
  return etag.startsWith('"') ? etag : `"${etag}"`;
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
    throw azureError(operation, request.key, error, request.signal);
  }
}
