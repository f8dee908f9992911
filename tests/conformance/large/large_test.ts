/**
 * An object longer than 4 GiB, and than what S3 takes in one request: up in parts, down in
 * ranges, with the part sizes and thresholds that a daemon has by default.
 * `make conformance-large` asks one store after the other.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { ok, strictEqual } from "node:assert/strict";
import { objectKeyOf } from "../../../src/core/names.ts";
import type {
  DownloadTarget,
  StorageBackend,
  UploadSource,
} from "../../../src/storage/backend.ts";
import { nativeFile } from "../../../src/posix/native_files.ts";
import { openPosix } from "../../../src/posix/posix.ts";
import { openNfsBackend } from "../../../src/storage/nfs/nfs_backend.ts";
import { makeContainer, newPrefix as newAzurePrefix, openAzure } from "../azure_site.ts";
import { emptied } from "../cloud_fixture.ts";
import { startGcsSite } from "../gcs_site.ts";
import { makeBucket, newPrefix as newS3Prefix, openS3 } from "../s3_site.ts";
import { NO_METADATA } from "../test_bytes.ts";

const MIB = 1_048_576;
const SIZE_BYTES = 5 * 1_024 * MIB + 3;
const KEY = objectKeyOf("depot/main/movie.bin,d/1.1");

/** What a daemon takes where the configuration names nothing. */
const DEFAULTS = { uploadPartMb: 8, restoreChunkThresholdMb: 64 };

/** Zeros, but each MiB begins with its number in two bytes, and the last byte is 7. */
function fill(buffer: Uint8Array, offset: number): void {
  buffer.fill(0);
  const put = (at: number, value: number): void => {
    if (at >= offset && at < offset + buffer.length) buffer[at - offset] = value;
  };
  const end = offset + buffer.length;
  for (let number = Math.floor(offset / MIB); number * MIB < end; number++) {
    put(number * MIB, number & 0xff);
    put(number * MIB + 1, 0x80 | number >> 8);
  }
  put(SIZE_BYTES - 1, 7);
}

const SOURCE: UploadSource = {
  sizeBytes: SIZE_BYTES,
  read(buffer: Uint8Array, offset: number): Promise<number> {
    const count = Math.min(buffer.length, SIZE_BYTES - offset);
    fill(buffer.subarray(0, count), offset);
    return Promise.resolve(count);
  },
};

/** Compares what is written, and keeps none of it. */
class ComparingTarget implements DownloadTarget {
  writtenBytes = 0;
  readonly #wanted = new Uint8Array(64 * MIB);

  write(bytes: Uint8Array, offset: number): Promise<void> {
    const wanted = this.#wanted.subarray(0, bytes.length);
    fill(wanted, offset);
    ok(Buffer.compare(bytes, wanted) === 0, `the ${bytes.length} bytes at ${offset}`);
    this.writtenBytes += bytes.length;
    return Promise.resolve();
  }

  read = SOURCE.read;
}

async function upAndDown(backend: StorageBackend): Promise<void> {
  const sent = await backend.upload({
    key: KEY,
    source: SOURCE,
    metadata: NO_METADATA,
    ifAbsent: true,
  });
  strictEqual(sent.sizeBytes, SIZE_BYTES);
  strictEqual((await backend.head(KEY))?.sizeBytes, SIZE_BYTES);
  const target = new ComparingTarget();
  const got = await backend.download({
    key: KEY,
    target,
    sizeBytes: SIZE_BYTES,
    ifMatch: sent.etag,
  });
  strictEqual(target.writtenBytes, SIZE_BYTES);
  strictEqual(got.info.etag, sent.etag);
  await emptied(backend);
}

const SENTENCE = `${SIZE_BYTES} bytes go up and come down`;

Deno.test(`nfs: ${SENTENCE}`, async () => {
  const parent = Deno.env.get("P4CACHE_TEST_NFS") ?? Deno.env.get("TMPDIR") ?? "/tmp";
  const root = await Deno.makeTempDir({ dir: parent, prefix: "p4cache-nfs-" });
  const posix = openPosix(nativeFile("libp4posix.so"));
  await upAndDown(await openNfsBackend({ root, prefix: "", initialize: true, posix }));
  posix[Symbol.dispose]();
  await Deno.remove(root, { recursive: true });
});

Deno.test(`s3: ${SENTENCE}`, async () => {
  await makeBucket();
  await upAndDown(await openS3({ pathPrefix: newS3Prefix(), ...DEFAULTS }));
});

Deno.test(`azure: ${SENTENCE}`, async () => {
  await makeContainer();
  await upAndDown(await openAzure({ pathPrefix: newAzurePrefix(), ...DEFAULTS }));
});

Deno.test(`gcs: ${SENTENCE}`, async () => {
  const site = await startGcsSite();
  await upAndDown(await site.openWith(DEFAULTS));
  await site.close();
});
