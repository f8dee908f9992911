// deno-lint-ignore-file no-console -- it prints its table
/**
 * Times the S3 store next to curl, `rclone mount` and s3fs, on the same server in the same
 * run: restores and uploads, each to durable bytes on disk (or in the store), with the
 * BLAKE3 of every byte on our side and none on theirs.
 *
 * Usage: deno run -A scripts/bench_storage.ts [--large-mib 1024] [--small 1000]
 *   [--directory DIR] [--skip-memory] [--skip-peers]
 *
 * Needs root, the servers of scripts/emulators/install.sh, curl, rclone, s3fs, and the
 * native library of `make native`. Prints a table; a peer that is not installed is named
 * as such.
 *
 * @module
 */

import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { parseArgs } from "node:util";
import { SYSTEM_CLOCK } from "../src/core/clock.ts";
import { bytePathOf, objectKeyOf } from "../src/core/names.ts";
import { openPosix, type Posix } from "../src/posix/posix.ts";
import type { StorageBackend } from "../src/storage/backend.ts";
import { createContentHasher } from "../src/storage/hashing.ts";
import { DEFAULT_RETRY_POLICY } from "../src/storage/retrying_backend.ts";
import { openS3Backend } from "../src/storage/s3/s3_backend.ts";

const { values } = parseArgs({
  options: {
    "large-mib": { type: "string", default: "1024" },
    "small": { type: "string", default: "1000" },
    "directory": { type: "string", default: "build/bench_storage" },
    "skip-memory": { type: "boolean", default: false },
    "skip-peers": { type: "boolean", default: false },
  },
});
const MIB = 1_048_576;
const LARGE_BYTES = Number(values["large-mib"]) * MIB;
const SMALL_COUNT = Number(values.small);
const SMALL_BYTES = 4_096;
const IN_FLIGHT = 16;

const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
await Deno.mkdir(values.directory, { recursive: true });
const directory = await Deno.realPath(values.directory);
const server = `${root}/build/emulators/s3`;

async function run(program: string, ...args: string[]): Promise<string> {
  // No proxy, no authority and no credentials of whoever runs this.
  const env = { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", HOME: "/nonexistent" };
  const command = new Deno.Command(program, { args, env, clearEnv: true });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

const shell = (script: string): Promise<string> => run("bash", "-c", script);

async function secondsOf(body: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1_000;
}

/** The best of three: what the machine can do, beside whatever else it does. */
async function bestOf(body: () => Promise<unknown>): Promise<number> {
  let best = Infinity;
  for (let i = 0; i < 3; i++) best = Math.min(best, await secondsOf(body));
  return best;
}

async function inFlight(
  count: number,
  work: (i: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}

const settings = Object.fromEntries(
  (await run(`${root}/scripts/emulators/radosgw.sh`, "start", server)).trim().split("\n")
    .map((line) => line.split(/=(.*)/s).slice(0, 2)),
);
const endpoint: string = settings.P4CACHE_TEST_S3_ENDPOINT;
const accessKey: string = settings.P4CACHE_TEST_S3_ACCESS_KEY;
const secretKey: string = settings.P4CACHE_TEST_S3_SECRET_KEY;
const bucket = "p4cache-bench";

const client = new S3Client({
  endpoint,
  region: "us-east-1",
  forcePathStyle: true,
  credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
});
await client.send(new CreateBucketCommand({ Bucket: bucket }));
client.destroy();

const openStore = (chunkThresholdMb: number): Promise<StorageBackend> =>
  openS3Backend({
    type: "s3",
    endpoint,
    endpointPin: true,
    bucket,
    accessKey,
    secretKey,
    restoreChunkThresholdMb: chunkThresholdMb,
  }, {
    clock: SYSTEM_CLOCK,
    retry: { policy: DEFAULT_RETRY_POLICY, clock: SYSTEM_CLOCK, random: Math.random },
    watermark: {},
    userAgent: "",
    onWarning: console.error,
  });

const posix: Posix = openPosix(`${root}/build/libp4posix.so`);
const bytePath = (name: string): string => bytePathOf(`${directory}/${name}`);

async function upload(store: StorageBackend, name: string, key: string): Promise<void> {
  const fd = posix.openRead(bytePath(name));
  try {
    const sizeBytes = posix.fstat(fd).sizeBytes;
    const read = (buffer: Uint8Array, offset: number): Promise<number> =>
      posix.read(fd, buffer, offset);
    const metadata = { mtimeNs: null, mode: 0o444, uid: 0, gid: 0, path: null };
    await store.upload({
      key: objectKeyOf(key),
      source: { sizeBytes, read },
      metadata: { ...metadata, hash: await hashOfFile(fd, sizeBytes) },
      ifAbsent: false,
    });
  } finally {
    posix.close(fd);
  }
}

async function hashOfFile(fd: number, sizeBytes: number): Promise<string> {
  const hasher = createContentHasher();
  const buffer = new Uint8Array(MIB);
  for (let offset = 0; offset < sizeBytes;) {
    const count = await posix.read(fd, buffer, offset);
    hasher.update(buffer.subarray(0, count));
    offset += count;
  }
  return hasher.digestHex();
}

async function restore(store: StorageBackend, key: string, name: string): Promise<void> {
  const path = bytePath(name);
  posix.unlink(path);
  const fd = posix.createTemp(path, 0o600);
  try {
    const target = {
      write: (bytes: Uint8Array, offset: number): Promise<void> =>
        posix.write(fd, bytes, offset),
      read: (buffer: Uint8Array, offset: number): Promise<number> =>
        posix.read(fd, buffer, offset),
    };
    const sizeBytes = (await store.head(objectKeyOf(key)))!.sizeBytes;
    await store.download({ key: objectKeyOf(key), target, sizeBytes });
    await posix.fsync(fd);
  } finally {
    posix.close(fd);
  }
}

/** A peer that shows the bucket as a directory, mounted for `body` only. */
async function mounted(
  mount: string,
  body: (mountPoint: string) => Promise<void>,
): Promise<void> {
  const point = `${directory}/mnt`;
  await Deno.mkdir(point, { recursive: true });
  await shell(mount.replaceAll("MOUNT", point));
  try {
    await shell(
      `for i in $(seq 100); do mountpoint -q ${point} && exit 0; sleep 0.1; done; exit 1`,
    );
    await body(point);
  } finally {
    // A program that just ended may hold it for a moment.
    await shell(
      `for i in $(seq 100); do umount ${point} && exit 0; sleep 0.1; done; exit 1`,
    );
  }
}

const has = (program: string): Promise<boolean> =>
  shell(`command -v ${program}`).then(() => true, () => false);

await Deno.writeTextFile(`${directory}/passwd`, `${accessKey}:${secretKey}\n`, {
  mode: 0o600,
});
const PEERS: Readonly<Record<string, string>> = {
  "rclone mount": `rclone mount --daemon --vfs-cache-mode writes --dir-cache-time 0 ` +
    `":s3,provider=Ceph,access_key_id=${accessKey},secret_access_key=${secretKey},` +
    `endpoint='${endpoint}':${bucket}" MOUNT`,
  "s3fs": `s3fs ${bucket} MOUNT -o passwd_file=${directory}/passwd,url=${endpoint},` +
    `use_path_request_style,max_stat_cache_size=0,parallel_count=8`,
};

const rows: { what: string; who: string; seconds: number; unit: string }[] = [];
function row(
  what: string,
  who: string,
  seconds: number,
  amount: number,
  unit: string,
): void {
  rows.push({ what, who, seconds, unit: `${(amount / seconds).toFixed(0)} ${unit}` });
  console.log(`${what} | ${who} | ${seconds.toFixed(2)} s | ${rows.at(-1)!.unit}`);
}

const largeMib = LARGE_BYTES / MIB;
const LARGE = `${largeMib} MiB restore, hashed and fsynced`;
const SMALL = `${SMALL_COUNT} x 4 KiB restores, ${IN_FLIGHT} in flight`;
const SENT = `${SMALL_COUNT} x 4 KiB uploads, ${IN_FLIGHT} in flight`;

console.log(`what | who | time | rate\n--- | --- | --- | ---`);
await shell(`head -c ${LARGE_BYTES} /dev/urandom > ${directory}/large`);
await Deno.mkdir(`${directory}/small`, { recursive: true });
for (let i = 0; i < SMALL_COUNT; i++) {
  const bytes = crypto.getRandomValues(new Uint8Array(SMALL_BYTES));
  await Deno.writeFile(`${directory}/small/${i}`, bytes);
}

const serial = await openStore(0);
const ranged = await openStore(64);

row(
  `${largeMib} MiB upload`,
  "p4-cache",
  await secondsOf(() => upload(ranged, "large", "large")),
  largeMib,
  "MiB/s",
);
if (await has("rclone")) {
  const copy = `rclone copyto ${directory}/large ` +
    `":s3,provider=Ceph,access_key_id=${accessKey},secret_access_key=${secretKey},` +
    `endpoint='${endpoint}':${bucket}/large-2"`;
  const seconds = await secondsOf(() => shell(copy));
  row(`${largeMib} MiB upload`, "rclone copyto", seconds, largeMib, "MiB/s");
}
const sendAll = (): Promise<void> =>
  inFlight(SMALL_COUNT, (i) => upload(ranged, `small/${i}`, `small/${i}`));
row(SENT, "p4-cache", await bestOf(sendAll), SMALL_COUNT, "/s");

const curl = "curl -sSf -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' " +
  `--aws-sigv4 aws:amz:us-east-1:s3 --user ${accessKey}:${secretKey} ` +
  `-o ${directory}/out ${endpoint}/${bucket}/large && sync ${directory}/out`;
row(LARGE, "curl + sync (no hash)", await bestOf(() => shell(curl)), largeMib, "MiB/s");
row(
  LARGE,
  "p4-cache, one stream",
  await bestOf(() => restore(serial, "large", "out")),
  largeMib,
  "MiB/s",
);
row(
  LARGE,
  "p4-cache, 4 ranges",
  await bestOf(() => restore(ranged, "large", "out")),
  largeMib,
  "MiB/s",
);
const restoreAll = (): Promise<void> =>
  inFlight(SMALL_COUNT, (i) => restore(ranged, `small/${i}`, `out-${i}`));
row(SMALL, "p4-cache", await bestOf(restoreAll), SMALL_COUNT, "/s");

for (const [name, mount] of Object.entries(PEERS)) {
  if (values["skip-peers"]) break;
  if (!await has(name.split(" ")[0]!)) {
    console.log(`${name}: not installed`);
    continue;
  }
  // Each measurement has its own mount: nothing of an earlier one is cached.
  await mounted(mount, async (point) => {
    const copy = `cp ${point}/large ${directory}/out && sync ${directory}/out`;
    row(
      `${LARGE} (no hash)`,
      name,
      await secondsOf(() => shell(copy)),
      largeMib,
      "MiB/s",
    );
  });
  await mounted(mount, async (point) => {
    const copy = `seq 0 ${SMALL_COUNT - 1} | xargs -P ${IN_FLIGHT} -I% ` +
      `dd if=${point}/small/% of=${directory}/out-% bs=4k conv=fsync status=none`;
    row(SMALL, name, await secondsOf(() => shell(copy)), SMALL_COUNT, "/s");
  });
  await mounted(mount, async (point) => {
    await shell(`mkdir -p ${point}/sent`);
    const copy = `seq 0 ${SMALL_COUNT - 1} | xargs -P ${IN_FLIGHT} -I% ` +
      `dd if=${directory}/small/% of=${point}/sent/% bs=4k conv=fsync status=none`;
    row(SENT, name, await secondsOf(() => shell(copy)), SMALL_COUNT, "/s");
  });
}

if (!values["skip-memory"]) {
  const memoryMib = async (field: string): Promise<number> => {
    const status = await Deno.readTextFile("/proc/self/status");
    return Number(status.match(new RegExp(`${field}:\\s+(\\d+) kB`))![1]) / 1_024;
  };
  // Forgets the peak of what was measured before.
  await Deno.writeTextFile("/proc/self/clear_refs", "5");
  const beforeMib = await memoryMib("VmRSS");
  await Promise.all(
    Array.from({ length: 16 }, (_, i) => restore(ranged, "large", `out-${i}`)),
  );
  const peakMib = await memoryMib("VmHWM");
  console.log(
    `peak memory, 16 restores of ${largeMib} MiB at a time: ${peakMib.toFixed(0)} MiB, ` +
      `${beforeMib.toFixed(0)} MiB before (from source, with every module unbundled)`,
  );
}

await serial.close();
await ranged.close();
await Deno.remove(directory, { recursive: true });
await run(`${root}/scripts/emulators/radosgw.sh`, "stop", server);
