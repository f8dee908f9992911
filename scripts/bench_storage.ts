// deno-lint-ignore-file no-console -- it prints its table
/**
 * Times the S3 store next to curl, `rclone mount` and s3fs, on the same server in the same
 * run, in turns: restores and uploads, each to durable bytes on disk (or in the store), with
 * the BLAKE3 of every byte on our side and none on theirs. Then the real daemon: a cold open
 * of 4 KiB from an NFS store next to the same by hand, and the memory of 16 restores of
 * 1 GiB at a time.
 *
 * Usage: deno run -A scripts/bench_storage.ts [--large-mib 1024] [--small 1000]
 *   [--rounds 3] [--directory DIR] [--skip-memory] [--skip-peers]
 *
 * Needs root and `make build`; installs Debian's nginx-light, rclone and s3fs where they are
 * missing. Columns: what, who, median rate, ratio to the first of its kind, seconds of each
 * round.
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
import { measureDaemonMemory } from "./bench_storage/daemon_memory.ts";
import { measureNfs } from "./bench_storage/nfs_by_hand.ts";
import { startNginxSource } from "./bench_storage/nginx_source.ts";
import { compare, type Contender, secondsOf } from "./bench_storage/rounds.ts";

const { values } = parseArgs({
  options: {
    "large-mib": { type: "string", default: "1024" },
    "small": { type: "string", default: "1000" },
    "rounds": { type: "string", default: "3" },
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
const ROUNDS = Number(values.rounds);

const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
await Deno.mkdir(values.directory, { recursive: true });
const directory = await Deno.realPath(values.directory);
const server = `${directory}/s3`;

async function run(program: string, ...args: string[]): Promise<string> {
  // No proxy, no authority and no credentials of whoever runs this.
  const env = { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", HOME: "/nonexistent" };
  const command = new Deno.Command(program, { args, env, clearEnv: true });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

const shell = (script: string): Promise<string> => run("bash", "-c", script);

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

await run(`${root}/scripts/emulators/install.sh`, `${root}/build/emulators`, "bench");
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

const openStore = (
  chunkThresholdMb: number,
  at: { readonly endpoint: string; readonly bucket: string } = { endpoint, bucket },
): Promise<StorageBackend> =>
  openS3Backend({
    type: "s3",
    ...at,
    endpointPin: true,
    accessKey,
    secretKey,
    restoreChunkThresholdMb: chunkThresholdMb,
  }, {
    clock: SYSTEM_CLOCK,
    posix,
    retry: { policy: DEFAULT_RETRY_POLICY, clock: SYSTEM_CLOCK, random: Math.random },
    watermark: {},
    userAgent: "",
    onWarning: console.error,
  });

const posix: Posix = openPosix(`${root}/build/libp4posix.so`);
const bytePath = (name: string): string => bytePathOf(`${directory}/${name}`);

async function withFile<T>(
  name: string,
  body: (fd: number, sizeBytes: number) => Promise<T>,
): Promise<T> {
  const fd = posix.openRead(bytePath(name));
  try {
    return await body(fd, posix.fstat(fd).sizeBytes);
  } finally {
    posix.close(fd);
  }
}

async function upload(store: StorageBackend, name: string, key: string): Promise<void> {
  await withFile(name, async (fd, sizeBytes) => {
    const read = (buffer: Uint8Array, offset: number): Promise<number> =>
      posix.read(fd, buffer, offset);
    const metadata = { mtimeNs: null, mode: 0o444, uid: 0, gid: 0, path: null };
    await store.upload({
      key: objectKeyOf(key),
      source: { sizeBytes, read },
      metadata: { ...metadata, hash: await hashOfFile(fd, sizeBytes) },
      ifAbsent: false,
    });
  });
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

/** The seconds of `script` with a peer mounted anew: nothing of an earlier run is cached. */
async function secondsMounted(mount: string, script: string): Promise<number> {
  const point = `${directory}/mnt`;
  await Deno.mkdir(point, { recursive: true });
  await shell(mount.replaceAll("MOUNT", point));
  try {
    await shell(
      `for i in $(seq 100); do mountpoint -q ${point} && exit 0; sleep 0.1; done; exit 1`,
    );
    return await secondsOf(() => shell(script.replaceAll("MOUNT", point)));
  } finally {
    // A program that just ended may hold it for a moment.
    await shell(
      `for i in $(seq 100); do umount ${point} && exit 0; sleep 0.1; done; exit 1`,
    );
  }
}

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

const peers = values["skip-peers"] ? [] : Object.entries(PEERS);

/** Each peer doing `script` on its mount. */
const mountedPeers = (script: string): Contender[] =>
  peers.map(([name, mount]) => ({ name, run: () => secondsMounted(mount, script) }));

/** Ours first. Nothing that was written before waits for the disk in the seconds. */
const timed = (name: string, body: () => Promise<unknown>): Contender => ({
  name,
  async run(): Promise<number> {
    await shell(`rm -rf ${directory}/out*; sync -f ${directory}`);
    return await secondsOf(body);
  },
});

const largeMib = LARGE_BYTES / MIB;
const LARGE: readonly [number, string] = [largeMib, "MiB/s"];
const SMALL: readonly [number, string] = [SMALL_COUNT, "/s"];

console.log("what | who | rate | ratio | seconds\n--- | --- | --- | --- | ---");
await shell(`head -c ${LARGE_BYTES} /dev/urandom > ${directory}/large`);
await Deno.mkdir(`${directory}/small`, { recursive: true });
for (let i = 0; i < SMALL_COUNT; i++) {
  const bytes = crypto.getRandomValues(new Uint8Array(SMALL_BYTES));
  await Deno.writeFile(`${directory}/small/${i}`, bytes);
}
const store = await openStore(64);
await upload(store, "large", "large");

const curlOf = (url: string): string =>
  "curl -sSf -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' " +
  `--aws-sigv4 aws:amz:us-east-1:s3 --user ${accessKey}:${secretKey} ` +
  `-o ${directory}/out ${url} && sync ${directory}/out`;
await compare(`restore of ${largeMib} MiB from radosgw, fsynced`, LARGE, [
  timed("p4-cache", () => restore(store, "large", "out")),
  timed("curl + sync", () => shell(curlOf(`${endpoint}/${bucket}/large`))),
  ...mountedPeers(`cp MOUNT/large ${directory}/out && sync ${directory}/out`),
], ROUNDS);

const sendAll = (): Promise<void> =>
  inFlight(SMALL_COUNT, (i) => upload(store, `small/${i}`, `small/${i}`));
await compare(`${SMALL_COUNT} uploads of 4 KiB, ${IN_FLIGHT} in flight`, SMALL, [
  timed("p4-cache", sendAll),
  ...mountedPeers(
    `mkdir -p MOUNT/sent; seq 0 ${SMALL_COUNT - 1} | xargs -P ${IN_FLIGHT} -I% ` +
      `dd if=${directory}/small/% of=MOUNT/sent/% bs=4k conv=fsync status=none`,
  ),
], ROUNDS);

const restoreAll = (): Promise<void> =>
  inFlight(SMALL_COUNT, (i) => restore(store, `small/${i}`, `out-${i}`));
await compare(
  `${SMALL_COUNT} restores of 4 KiB, ${IN_FLIGHT} in flight, fsynced`,
  SMALL,
  [
    timed("p4-cache", restoreAll),
    ...mountedPeers(
      `seq 0 ${SMALL_COUNT - 1} | xargs -P ${IN_FLIGHT} -I% ` +
        `dd if=MOUNT/small/% of=${directory}/out-% bs=4k conv=fsync status=none`,
    ),
  ],
  ROUNDS,
);
await store.close();
await run(`${root}/scripts/emulators/radosgw.sh`, "stop", server);

await Deno.mkdir(`${directory}/www/b`, { recursive: true });
await Deno.link(`${directory}/large`, `${directory}/www/b/large`);
const names = Array.from({ length: 16 }, (_, i) => `depot/${i}.bin,d/1.1`);
for (const name of names) {
  await Deno.mkdir(`${directory}/www/b/${name.replace(/\/[^/]*$/, "")}`, {
    recursive: true,
  });
  await Deno.link(`${directory}/large`, `${directory}/www/b/${name}`);
}
const hash = await withFile("large", hashOfFile);
const source = await startNginxSource({
  root: `${directory}/www`,
  work: `${directory}/nginx`,
  hash,
});
const fast = await openStore(64, { endpoint: source.endpoint, bucket: "b" });
await compare(`restore of ${largeMib} MiB from nginx, fsynced`, LARGE, [
  timed("p4-cache", () => restore(fast, "large", "out")),
  timed("curl + sync", () => shell(curlOf(`${source.endpoint}/b/large`))),
], ROUNDS);
await fast.close();

const nfs = await measureNfs(300);
const times = `${nfs.oursMs.toFixed(2)} ms | by hand ${nfs.byHandMs.toFixed(2)} ms`;
console.log(
  `cold open of 4 KiB from NFS | ${times} | ${(nfs.oursMs / nfs.byHandMs).toFixed(2)}`,
);
if (!values["skip-memory"]) {
  const { idleMib, peakMib, fileMib, seconds } = await measureDaemonMemory(
    source.endpoint,
    names,
  );
  console.log(
    `RSS of the daemon, 16 restores of ${largeMib} MiB at a time | ` +
      `${peakMib.toFixed(0)} MiB at most (${fileMib.toFixed(0)} of files), ` +
      `${idleMib.toFixed(0)} MiB before | ` +
      `${(16 * largeMib / seconds).toFixed(0)} MiB/s`,
  );
}
await source.close();
await Deno.remove(directory, { recursive: true });
