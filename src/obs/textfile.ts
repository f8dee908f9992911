/**
 * Puts the metrics where the textfile collector of node_exporter reads them.
 *
 * @module
 */

import type { Metrics } from "./metrics.ts";

/**
 * Replaces the file at `path`; a reader sees the old content or the new. Not to be called
 * again for the same path before it has resolved.
 *
 * @throws The file system's error; the old file is left as it was.
 */
export async function writeMetricsFile(
  path: string,
  metrics: Pick<Metrics, "render">,
): Promise<void> {
  const content = await metrics.render();
  // One fixed name: a crash leaves one such file at most. The collector reads `*.prom` only.
  const tempPath = `${path}.tmp`;
  await removeIfThere(tempPath);
  try {
    // `createNew` does not follow a link that somebody put there just now. The mode is the
    // collector's to read: Deno applies it whatever the umask says.
    await Deno.writeTextFile(tempPath, content, { createNew: true, mode: 0o644 });
    await Deno.rename(tempPath, path);
  } catch (error) {
    await Deno.remove(tempPath).catch(() => {}); // The first error is the useful one.
    throw error;
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
