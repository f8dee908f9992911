/**
 * Cuts the power: depot and manifest lie on an ext4 image; while files are written, read
 * and evicted, the image is copied as it is at one moment, and everything that was not on
 * it yet is gone. The copy is mounted (the journal replayed), checked by fsck, and a daemon
 * started on it: each revision that was flushed before that moment, under its name, reads
 * back, and no name has half a file.
 *
 *   deno run -A tests/crash/power_cut.ts [--runs N] [--seed S]
 *
 * The image lies on a file system of its own that is frozen for the copy: nothing else
 * gives a copy of one moment. Needs root, losetup, fsfreeze and mkfs.ext4. The last line is
 * `power-cut: runs=N files=N in_flight_at_cut=N lost=0 wrong=0`.
 *
 * @module
 */

// deno-lint-ignore-file no-console -- a program that reports to a person

import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { Random, seededRandom } from "./random.ts";
import { Rig, sleep, until } from "./rig.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: { runs: { type: "string", default: "20" }, seed: { type: "string" } },
});
const OUTER_MIB = 400;
const INNER_MIB = 160;

interface Flushed {
  readonly path: string;
  /** Whatever was at the name at the cut or came before it, the newest flushed last. */
  readonly digests: string[];
  /** How many of these were flushed, name and all. */
  flushed: number;
}

interface CutResult {
  readonly files: number;
  readonly wasInFlight: boolean;
  readonly lost: number;
  readonly wrong: number;
}

async function command(...[program, ...args]: string[]): Promise<string> {
  const output = await new Deno.Command(program!, { args, stdin: "null" }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).trim();
  if (output.code !== 0) {
    throw new Error(`${program} ${args.join(" ")}: ${text(output.stderr)}`);
  }
  return text(output.stdout);
}

/** Undone in the reverse order, whatever happens. */
async function mounted(
  cleanup: AsyncDisposableStack,
  image: string,
  directory: string,
): Promise<string> {
  const device = await command("losetup", "--find", "--show", image);
  cleanup.defer(() => command("losetup", "--detach", device).then(() => {}));
  await Deno.mkdir(directory, { recursive: true });
  await command("mount", device, directory);
  cleanup.defer(() => command("umount", "--lazy", directory).then(() => {}));
  return device;
}

async function makeImage(path: string, mebibytes: number): Promise<void> {
  const file = await Deno.open(path, { createNew: true, write: true });
  await file.truncate(mebibytes * 2 ** 20);
  file.close();
  await command("mkfs.ext4", "-q", "-F", path);
}

async function syncDirectory(path: string): Promise<void> {
  await command("sync", path);
}

/** Files as p4d writes them, and the directory flushed too: on the disk, name and all. */
class FlushedFiles {
  readonly files = new Map<string, Flushed>();
  readonly #depot: string;
  readonly #random: Random;
  #isGoing = true;
  #count = 0;

  constructor(depot: string, random: Random) {
    this.#depot = depot;
    this.#random = random;
  }

  stop(): void {
    this.#isGoing = false;
  }

  async write(): Promise<void> {
    while (this.#isGoing) {
      const batch: Flushed[] = [];
      const directory = `d${this.#random.between(0, 3)}`;
      await Deno.mkdir(`${this.#depot}/${directory}`, { recursive: true });
      for (let i = 0; i < 5; i++) batch.push(this.#writeOne(directory));
      // The whole way up: a new directory is a name in its parent.
      await syncDirectory(`${this.#depot}/${directory}`);
      await syncDirectory(this.#depot);
      for (const file of batch) file.flushed = file.digests.length;
    }
  }

  #writeOne(directory: string): Flushed {
    const known = [...this.files.values()].filter((it) =>
      it.path.startsWith(`${directory}/`)
    );
    const isNew = known.length === 0 || this.#random.next() < 0.7;
    const path = isNew ? `${directory}/f${this.#count},v` : this.#random.pick(known).path;
    const bytes = this.#random.bytes(this.#random.between(0, 60_000));
    const temporary = `${this.#depot}/${directory}/tmp.${this.#count++}`;
    const file = Deno.openSync(temporary, { createNew: true, write: true });
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    file.syncSync();
    file.close();
    const entry = this.files.get(path) ?? { path, digests: [], flushed: 0 };
    this.files.set(path, entry);
    entry.digests.push(createHash("sha256").update(bytes).digest("hex"));
    Deno.renameSync(temporary, `${this.#depot}/${path}`);
    return entry;
  }
}

/** One program does it all: whoever writes to the image waits, this process included. */
async function copyOfOneMoment(
  outer: string,
  image: string,
  copy: string,
): Promise<void> {
  const script = 'fsfreeze --freeze "$1" || exit 1; cp --sparse=always "$2" "$3"; ' +
    'status=$?; fsfreeze --unfreeze "$1"; exit "$status"';
  await command("sh", "-c", script, "sh", outer, image, copy);
}

async function cutOnce(random: Random): Promise<CutResult> {
  await using cleanup = new AsyncDisposableStack();
  const base = await Deno.makeTempDir({ prefix: "p4cache-power-" });
  cleanup.defer(() => Deno.remove(base, { recursive: true }));
  const [outer, inner, copy] = [`${base}/outer`, `${base}/inner`, `${base}/copy.img`];
  await makeImage(`${outer}.img`, OUTER_MIB);
  await mounted(cleanup, `${outer}.img`, outer);
  await makeImage(`${outer}/inner.img`, INNER_MIB);
  const device = await mounted(cleanup, `${outer}/inner.img`, inner);
  const rig = cleanup.use(
    await Rig.open({
      depot: `${inner}/depot`,
      config: { max_cache_bytes: 600_000, delete_grace_secs: 86_400 },
    }),
  );
  await rig.start();
  const files = new FlushedFiles(rig.depot, random);
  const writing = files.write();
  const client = rig.client();
  await until(
    "files are evicted",
    () => [...rig.names()].some(({ isMarker }) => isMarker),
  );
  let isReading = true;
  const reading = (async (): Promise<void> => {
    while (isReading) {
      const { path } = random.pick([...files.files.values()]);
      await client.ask("read", `${rig.depot}/${path}`);
    }
  })();
  await sleep(random.between(0, 1_500));
  // Flushed by now is on the image; what comes later may be.
  const flushedBefore = new Map(
    [...files.files.values()].map(({ path, flushed }) => [path, flushed]),
  );
  await copyOfOneMoment(outer, `${outer}/inner.img`, copy);
  const wanted = [...files.files.values()].map(({ path, digests }) => ({
    path,
    digests: [...digests],
    flushed: flushedBefore.get(path) ?? 0,
  }));
  files.stop();
  isReading = false;
  await Promise.all([writing, reading]);
  await cutPower(rig, copy, { device, inner });
  const inFlight = await rig.inFlight();
  if (random.next() < 0.5) await rig.forgetBoot();
  return { ...await readBack(rig, wanted), wasInFlight: inFlight > 0 };
}

/**
 * The machine is gone, the copy is its disk: under the same device number, as a server's
 * disk would be. Mounting replays the journal.
 */
async function cutPower(
  rig: Rig,
  copy: string,
  { device, inner }: { readonly device: string; readonly inner: string },
): Promise<void> {
  await rig.end("SIGKILL");
  await unmounted(inner);
  await command("losetup", "--detach", device);
  await command("losetup", device, copy);
  await command("mount", device, inner);
  await unmounted(inner);
  await command("e2fsck", "-f", "-n", device);
  await command("mount", device, inner);
}

/** The helpers of a dead daemon leave when they see it, and hold the mount until then. */
async function unmounted(directory: string): Promise<void> {
  for (let triesLeft = 100;; triesLeft--) {
    try {
      await command("umount", directory);
      return;
    } catch (error) {
      if (triesLeft === 0) throw error;
      await sleep(50);
    }
  }
}

async function readBack(
  rig: Rig,
  wanted: readonly Flushed[],
): Promise<Omit<CutResult, "wasInFlight">> {
  let lost = 0;
  let wrong = 0;
  const judge = (path: string, what: string): void => console.log(`${what}: ${path}`);
  if (await rig.start() !== "ready") {
    throw new Error(`the daemon does not start after the cut:\n${rig.log.slice(-3000)}`);
  }
  const client = rig.client();
  for (const { path, digests, flushed } of wanted) {
    const reply = await client.ask("read", `${rig.depot}/${path}`);
    if ("errno" in reply) {
      if (flushed === 0 && reply.errno === "ENOENT") continue; // nobody was promised it
      lost += 1;
      judge(path, `lost (${reply.errno})`);
    } else if ("sha256" in reply) {
      const version = digests.lastIndexOf(reply.sha256);
      if (version < 0) judge(path, "wrong: bytes that nobody wrote");
      else if (version < flushed - 1) {
        judge(path, `wrong: version ${version} of ${flushed}`);
      }
      if (version < 0 || version < flushed - 1) wrong += 1;
    }
  }
  return { files: wanted.length, lost, wrong };
}

const random = seededRandom(values.seed);
const runs = Number(values.runs);
let [files, inFlight, lost, wrong] = [0, 0, 0, 0];
for (let run = 1; run <= runs; run++) {
  const result = await cutOnce(random);
  files += result.files;
  inFlight += result.wasInFlight ? 1 : 0;
  lost += result.lost;
  wrong += result.wrong;
  console.log(`cut ${run}: ${result.files} files, in flight: ${result.wasInFlight}`);
}
const isGood = lost === 0 && wrong === 0 && files > 0 && inFlight * 2 > runs;
console.log(
  `power-cut: runs=${runs} files=${files} in_flight_at_cut=${inFlight} lost=${lost} ` +
    `wrong=${wrong}`,
);
Deno.exit(isGood ? 0 : 1);
