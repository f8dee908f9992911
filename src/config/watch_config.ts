/**
 * Keeps a running configuration in step with its file.
 *
 * The path is polled, not the file: editors replace a file by renaming another over it. A
 * file that cannot be used changes nothing, and is complained of once. Until it can be used it is
 * read at each look: what was wrong may be mended elsewhere, such as in a file with a secret.
 *
 * @module
 */

import type { Clock } from "../core/clock.ts";
import type { Config } from "./key_table.ts";
import { loadConfig } from "./load_config.ts";
import { ConfigError } from "./problem.ts";
import { planReload, type ReloadPlan } from "./reload_plan.ts";

const POLL_MS = 30_000;

export interface WatchConfigOptions {
  readonly path: string;
  /** What runs now. */
  readonly running: Config;
  readonly clock: Clock;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** Called when `live` keys have changed. The plan's configuration runs from then on. */
  readonly onReload: (plan: ReloadPlan) => void;
  /** Told of a file that cannot be used and of keys that wait for a restart. */
  readonly onWarning: (message: string) => void;
}

export interface ConfigWatch {
  /** What runs. */
  readonly config: Config;
  /** Reads the file now, changed or not; for SIGHUP. */
  check(): void;
  /** Resolves once the signal has ended the watch; rejects if a callback threw. */
  readonly done: Promise<void>;
}

/** The first look comes after one interval: the file has just been read. */
export function watchConfig(options: WatchConfigOptions): ConfigWatch {
  const { path, onReload, onWarning } = options;
  let running = options.running;
  let seen = identityOf(path);
  /** Why the file cannot be used, as it was said; null if it can. */
  let complaint: string | null = null;

  const read = (): void => {
    seen = identityOf(path);
    const wanted = loadOrComplaint(path);
    if (typeof wanted === "string") {
      if (wanted !== complaint) onWarning(wanted);
      complaint = wanted;
      return;
    }
    complaint = null;
    const plan = planReload(running, wanted);
    running = plan.config;
    if (plan.applied.length > 0) onReload(plan);
    if (plan.needRestart.length > 0) {
      onWarning(`Changed, but not before a restart: ${plan.needRestart.join(", ")}`);
    }
  };
  /** Somebody did something: he is told what is wrong, also if it is the same as before. */
  const readAnew = (): void => {
    complaint = null;
    read();
  };
  const poll = async (): Promise<void> => {
    // What was loaded may be older than `seen`: the first look reads in any case.
    let isFirst = true;
    while (await slept(options)) {
      if (isFirst || identityOf(path) !== seen) readAnew();
      else if (complaint !== null) read();
      isFirst = false;
    }
  };
  return {
    get config(): Config {
      return running;
    },
    check: readAnew,
    done: poll(),
  };
}

function loadOrComplaint(path: string): Config | string {
  try {
    return loadConfig(path);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return `${error.message}\nThe configuration that was in use stays in use`;
  }
}

/** False if the signal came. */
async function slept({ clock, signal }: WatchConfigOptions): Promise<boolean> {
  try {
    await clock.sleep(POLL_MS, signal);
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}

/** Changes whenever the file is written or replaced. */
function identityOf(path: string): string {
  try {
    const { mtime, ino, dev, size } = Deno.statSync(path);
    return [mtime?.getTime(), ino, dev, size].join();
  } catch (error) {
    return `unreadable: ${error}`;
  }
}
