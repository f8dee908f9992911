/**
 * Uploads to Azure: one Put Blob for what fits a block, staged blocks and their list for
 * the rest.
 *
 * All uploads to a name share one set of uncommitted blocks, so block names are unique to
 * an upload: blocks of two of them can never be mixed. What is not committed is never
 * shown, and the service drops it after a week.
 *
 * @module
 */

import type {
  BlockBlobCommitBlockListOptions,
  BlockBlobUploadOptions,
  ContainerClient,
} from "@azure/storage-blob";
import { createHash, randomUUID } from "node:crypto";
import type { ObjectInfo, UploadRequest } from "../backend.ts";
import type { CloudSettings } from "../cloud_settings.ts";
import { Places } from "../limiting_backend.ts";
import { encodeMetadata } from "../object_metadata.ts";
import { sendParts } from "../part_upload.ts";
import { planPartBytes } from "../plan_ranges.ts";
import type { RetryTools } from "../retrying_backend.ts";
import { openSourceReader, type SourceReader } from "../source_reader.ts";
import { StorageError } from "../storage_error.ts";
import { azureError } from "./azure_errors.ts";

const MIB = 1_048_576;
const PART_LIMITS = { partBytesMin: 1, partBytesMax: 4_000 * MIB, partsMax: 50_000 };
export const OBJECT_BYTES_MAX = PART_LIMITS.partBytesMax * PART_LIMITS.partsMax;

/** Blocks in memory, of all uploads together. */
const PARTS_IN_MEMORY = 16;

export interface AzureUploadParts {
  readonly container: ContainerClient;
  readonly settings: CloudSettings;
  readonly retry: RetryTools;
  readonly storageClass: string | null;
  readonly watermark: Readonly<Record<string, string>>;
}

export class AzureUpload {
  readonly #parts: AzureUploadParts;
  readonly #memory = new Places(PARTS_IN_MEMORY);

  constructor(parts: AzureUploadParts) {
    this.#parts = parts;
  }

  async run(request: UploadRequest): Promise<ObjectInfo> {
    const reader = openSourceReader(request);
    if (request.source.sizeBytes > this.#parts.settings.partBytes) {
      return await this.#inBlocks(request, reader);
    }
    return await this.#memory.run(() => this.#single(request, reader), request.signal);
  }

  async #single(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const bytes = new Uint8Array(request.source.sizeBytes);
    await reader.fill(bytes);
    reader.finish();
    const output = await this.#blob(request).upload(bytes, bytes.length, {
      ...this.#attributes(request),
      transactionalContentMD5: md5Of(bytes),
    });
    return this.#infoOf(request, output);
  }

  async #inBlocks(request: UploadRequest, reader: SourceReader): Promise<ObjectInfo> {
    const { key, signal, source } = request;
    const blob = this.#blob(request);
    const upload = randomUUID();
    const names = await sendParts({
      totalBytes: source.sizeBytes,
      partBytes: this.#partBytes(request),
      reader,
      threads: this.#parts.settings.partThreads,
      memory: this.#memory,
      retry: this.#parts.retry,
      onResend: request.onResend,
      signal,
    }, async (bytes, index) => {
      const name = btoa(`${upload}-${String(index).padStart(6, "0")}`);
      try {
        await blob.stageBlock(name, bytes, bytes.length, {
          transactionalContentMD5: md5Of(bytes),
          ...(signal === undefined ? {} : { abortSignal: signal }),
        });
      } catch (error) {
        throw azureError("upload", key, error, signal);
      }
      return name;
    });
    reader.finish();
    try {
      const output = await blob.commitBlockList(names, this.#attributes(request));
      return this.#infoOf(request, output);
    } catch (error) {
      throw await this.#lostBlocks(request, error);
    }
  }

  /**
   * Who commits second finds its blocks gone, because the first commit dropped them: what
   * it has to be told is that the object exists.
   */
  async #lostBlocks(request: UploadRequest, error: unknown): Promise<unknown> {
    const { key, signal } = request;
    const fault = azureError("upload", key, error, signal);
    const isLost = request.ifAbsent !== false && fault instanceof StorageError &&
      (error as { code?: unknown }).code === "InvalidBlockList";
    if (!isLost || !(await this.#blob(request).exists())) return fault;
    const detail = "it exists, and it must not";
    return new StorageError("precondition", { operation: "upload", key, detail });
  }

  #blob(request: UploadRequest): ReturnType<ContainerClient["getBlockBlobClient"]> {
    const { container, settings } = this.#parts;
    return container.getBlockBlobClient(settings.prefix + request.key);
  }

  #attributes(
    request: UploadRequest,
  ): BlockBlobUploadOptions & BlockBlobCommitBlockListOptions {
    const tier = request.storageClass ?? this.#parts.storageClass;
    return {
      metadata: encodeMetadata(request.metadata, "_", this.#parts.watermark),
      blobHTTPHeaders: { blobContentType: "application/octet-stream" },
      ...(request.ifAbsent === false ? {} : { conditions: { ifNoneMatch: "*" } }),
      ...(tier === null ? {} : { tier }),
      ...(request.signal === undefined ? {} : { abortSignal: request.signal }),
    };
  }

  #infoOf(
    request: UploadRequest,
    output: {
      readonly etag?: string | undefined;
      readonly lastModified?: Date | undefined;
      readonly versionId?: string | undefined;
      readonly date?: Date | undefined;
    },
  ): ObjectInfo {
    return {
      key: request.key,
      sizeBytes: request.source.sizeBytes,
      etag: output.etag ?? null,
      storedAtMs: output.lastModified?.getTime() ?? null,
      versionId: output.versionId ?? null,
      storageClass: request.storageClass ?? this.#parts.storageClass,
      metadata: request.metadata,
      storeNowMs: output.date?.getTime() ?? null,
    };
  }

  #partBytes(request: UploadRequest): number {
    const total = request.source.sizeBytes;
    const partBytes = planPartBytes(total, this.#parts.settings.partBytes, PART_LIMITS);
    if (partBytes !== null) return partBytes;
    throw new StorageError("invalid", {
      operation: "upload",
      key: request.key,
      detail: `it has ${total} bytes, Azure takes ${OBJECT_BYTES_MAX}`,
    });
  }
}

/** The service refuses a body that has another one. */
function md5Of(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("md5").update(bytes).digest());
}
