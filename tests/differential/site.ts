/**
 * The daemon of the test, and the moment at which all that may go is gone.
 *
 * @module
 */

import { isManaged, parseDepotPath } from "../../src/core/names.ts";
import { Rig, until } from "../crash/rig.ts";
import { filesOf, type Found } from "./chaos.ts";

/** Its daemon evicts whatever is old enough. */
export function openSite(): Promise<Rig> {
  return Rig.open({
    config: {
      manage: "all",
      max_cache_bytes: 1,
      low_watermark_bytes: 0,
      watcher_allowed_uids: [1000],
      retry_base_ms: 50,
    },
  });
}

/** Waits until nothing is resident that may go: a file of two names stays. */
export async function everythingEvicted(rig: Rig): Promise<void> {
  let resident: Found[] = [];
  const isManagedName = (path: string): boolean => isManaged(parseDepotPath(path), "all");
  const timer = setInterval(() => void look(), 500);
  const look = async (): Promise<void> => {
    resident = (await filesOf(rig.depot)).filter(({ kind, links, path }) =>
      kind === "f" && links === 1 && isManagedName(path)
    );
  };
  try {
    await look();
    await until(
      "everything is evicted",
      () => resident.length === 0,
      () => resident.slice(0, 5).map(({ path }) => path).join(", "),
    );
  } finally {
    clearInterval(timer);
  }
}
