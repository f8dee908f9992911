/**
 * A whole p4-cache for a test: a depot, an NFS store, a configuration, and the real daemon
 * with its helpers, run by the executable that P4CACHE names (default: the launcher on
 * Deno 2.9.6), as root or as another user with the watcher's file capabilities.
 *
 * @module
 */

import { Buffer } from "node:buffer";

const BUILD = new URL("../../build/", import.meta.url).pathname;
/** Of a site that names no other. */
export const EXECUTABLE = Deno.env.get("P4CACHE") ?? `${BUILD}p4-cache-deno`;
const WAIT_MS_MAX = 60_000;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SiteOptions {
  /** Merged into the configuration. */
  readonly config?: Record<string, unknown>;
  /** Who runs the daemon and owns the depot. Default: whoever runs the test, root. */
  readonly uid?: number;
  /** Default: what P4CACHE names, else the launcher. */
  readonly executable?: string;
}

export class Site implements AsyncDisposable {
  readonly directory: string;
  readonly #uid: number | null;
  readonly #executable: string;
  #config: Record<string, unknown>;
  #daemon: Deno.ChildProcess | null = null;

  private constructor(directory: string, options: SiteOptions) {
    this.directory = directory;
    this.#uid = options.uid ?? null;
    this.#executable = options.executable ?? EXECUTABLE;
    this.#config = {
      depot_path: this.depot,
      primary: { type: "nfs", path: this.store, initialize: true },
      min_free_bytes: 0,
      evict_min_age_secs: 5,
      upload_settle_ms: 0,
      metrics_file: `${directory}/metrics.prom`,
      metrics_interval_secs: 1,
      log_file: `${directory}/daemon.log`,
      ...options.config,
    };
  }

  static async open(options: SiteOptions = {}): Promise<Site> {
    const directory = await Deno.makeTempDir({ prefix: "p4cache-e2e-" });
    const site = new Site(await Deno.realPath(directory), options);
    for (const path of [site.depot, site.store]) await Deno.mkdir(path);
    await site.configure({});
    if (options.uid !== undefined) await site.#giveTo(options.uid);
    return site;
  }

  /** What {@linkcode cli} runs. */
  get executable(): string {
    return this.#executable;
  }

  get depot(): string {
    return `${this.directory}/depot`;
  }

  get store(): string {
    return `${this.directory}/store`;
  }

  /** Of the daemon that runs. */
  get pid(): number {
    return this.#daemon!.pid;
  }

  get log(): string {
    return Deno.readTextFileSync(`${this.directory}/daemon.log`);
  }

  /**
   * Everything belongs to `uid`, and the watcher gets its capabilities from the file. The
   * programs are copied: the tree's own directories may be closed to other users.
   */
  async #giveTo(uid: number): Promise<void> {
    const names = ["p4-cache", "p4-cache-gate", "p4-cache-fanotify", "libp4posix.so"];
    for (const name of [...names, "libp4shim.so"]) await this.copyIn(BUILD + name);
    const helper = `${this.directory}/p4-cache-fanotify`;
    // Nobody else may start it; and a change of the owner would take the capabilities away again.
    await run(["chown", `root:${uid}`, helper]);
    await Deno.chmod(helper, 0o750);
    await run(["setcap", "cap_sys_admin,cap_dac_read_search+ep", helper]);
    await run(["chown", "-R", `${uid}:${uid}`, this.depot, this.store]);
    await run(["chown", `${uid}:${uid}`, this.directory]);
    await Deno.chmod(this.directory, 0o755);
  }

  /** A copy of a program or script that every user can reach; returns its path. */
  async copyIn(path: string): Promise<string> {
    const copy = `${this.directory}/${path.replace(/^.*\//, "")}`;
    await Deno.copyFile(path, copy);
    await Deno.chmod(copy, 0o755);
    return copy;
  }

  /** Changes the configuration; a running daemon is told. */
  async configure(changes: Record<string, unknown>): Promise<void> {
    this.#config = { ...this.#config, ...changes };
    const path = `${this.directory}/config.json`;
    // Before the file is there: the daemon looks at it by itself, too.
    const applied = this.#daemon === null ? 0 : count(this.log, "configuration applied");
    await Deno.writeTextFile(`${path}.new`, JSON.stringify(this.#config, null, 1));
    await Deno.rename(`${path}.new`, path);
    if (this.#daemon !== null) {
      this.#daemon.kill("SIGHUP");
      await until(
        "the configuration is applied",
        () => count(this.log, "configuration applied") > applied,
      );
    }
  }

  /** Sends a signal to the daemon and leaves it at that. */
  signal(name: "SIGSTOP" | "SIGCONT" | "SIGHUP"): void {
    this.#daemon!.kill(name);
  }

  /** Of the daemon's child that runs `program`. */
  helperPid(program: string): number {
    const { pid } = this.#daemon!;
    for (const task of Deno.readDirSync(`/proc/${pid}/task`)) {
      const children = Deno.readTextFileSync(`/proc/${pid}/task/${task.name}/children`);
      for (const child of children.trim().split(" ").filter((it) => it !== "")) {
        const command = Deno.readTextFileSync(`/proc/${child}/cmdline`).split("\0")[0]!;
        if (command.endsWith(`/${program}`)) return Number(child);
      }
    }
    throw new Error(`the daemon has no ${program}`);
  }

  async start(): Promise<void> {
    const ready = this.#readyCount();
    this.#daemon = this.spawn(["run", "--config", `${this.directory}/config.json`]);
    await until("the daemon is ready", () => this.#readyCount() > ready);
  }

  #readyCount(): number {
    try {
      return count(this.log, " ready ");
    } catch {
      return 0;
    }
  }

  /** Starts a command that runs until it is done, or killed. */
  spawn(args: string[]): Deno.ChildProcess {
    const executable = this.#uid === null
      ? this.#executable
      : `${this.directory}/p4-cache`;
    return new Deno.Command("setpriv", {
      args: [...this.#asUser(), executable, ...args],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  #asUser(): string[] {
    return this.#uid === null
      ? ["--"]
      : ["--reuid", `${this.#uid}`, "--regid", `${this.#uid}`, "--clear-groups", "--"];
  }

  /** Ends the daemon with `signal` and waits until it and its helpers are gone. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<number> {
    const daemon = this.#daemon!;
    this.#daemon = null;
    daemon.kill(signal);
    const { code } = await daemon.status;
    return code;
  }

  /** A command that waits for the daemon's answer or its end, as it is typed. */
  async cli(...args: string[]): Promise<Finished> {
    return await run([this.#executable, ...args], {}, true);
  }

  /** Runs a program, with the shim in it or not, as the depot's user or as root. */
  async program(
    command: string[],
    how: { shim: boolean; asUser?: boolean; env?: Record<string, string> },
  ): Promise<Finished> {
    const env = how.shim
      ? {
        LD_PRELOAD: `${this.#uid === null ? BUILD : `${this.directory}/`}libp4shim.so`,
        P4CACHE_DEPOT: this.depot,
        ...how.env,
      }
      : {};
    const user = how.asUser ? this.#asUser() : ["--"];
    // The shim goes into the program, not into setpriv.
    const preloads = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    return await run(["setpriv", ...user, "env", ...preloads, ...command], {}, true);
  }

  metric(line: string): number {
    let text: string;
    try {
      text = Deno.readTextFileSync(`${this.directory}/metrics.prom`);
    } catch {
      return NaN;
    }
    const found = text.split("\n").find((it) => it.startsWith(`${line} `));
    return found === undefined ? NaN : Number(found.slice(line.length + 1));
  }

  async uploaded(files: number): Promise<void> {
    await untilGone(
      `${files} files are uploaded`,
      () =>
        Math.abs(this.metric('p4cache_files{state="clean"}') - files) +
        Math.abs(this.metric('p4cache_files{state="total"}') - files),
    );
  }

  /** Waits for the minimum age, evicts everything, and leaves the limit at 1 byte. */
  async evictAll(): Promise<void> {
    await this.configure({ max_cache_bytes: 1, low_watermark_bytes: 0 });
    await untilGone("everything is evicted", () => this.residents());
  }

  residents(): number {
    return [...walk(this.depot)].filter((info) => info.isFile).length;
  }

  /** Versions of all files, without what is known of them. */
  objectsInStore(): number {
    return [...walk(this.store)].length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon !== null) await this.end("SIGKILL");
    await Deno.remove(this.directory, { recursive: true });
  }
}

function* walk(directory: string): Generator<Deno.FileInfo> {
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    if (name.startsWith(".p4cache")) continue;
    const path = `${directory}/${name}`;
    if (isDirectory) yield* walk(path);
    else yield Deno.lstatSync(path);
  }
}

function count(text: string, what: string): number {
  return text.split(what).length - 1;
}

/** Polls, because files of other processes have no event to await. */
export async function until(
  what: string,
  isDone: () => boolean,
  waitMsMax = WAIT_MS_MAX,
): Promise<void> {
  const deadlineMs = performance.now() + waitMsMax;
  while (!isDone()) {
    if (performance.now() > deadlineMs) throw new Error(`gave up waiting until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** As `until`, of something that becomes less: waits as long as it does. */
async function untilGone(what: string, left: () => number): Promise<void> {
  for (let least = Infinity; least > 0;) {
    let now = NaN;
    await until(`${what} (${least} are left)`, () => (now = left()) < least);
    least = now;
  }
}

/** Runs to the end; fails on a status other than 0 unless `isAllowedToFail`. */
export async function run(
  [program, ...args]: string[],
  env: Record<string, string> = {},
  isAllowedToFail = false,
): Promise<Finished> {
  const output = await new Deno.Command(program!, {
    args,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  // One character per byte: outputs may hold names that are not UTF-8.
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
  const finished = {
    code: output.code,
    stdout: text(output.stdout),
    stderr: text(output.stderr),
  };
  if (finished.code !== 0 && !isAllowedToFail) {
    throw new Error(
      `${program} ${args.join(" ")} ended with ${finished.code}: ${finished.stderr}`,
    );
  }
  return finished;
}
