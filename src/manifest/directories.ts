/**
 * Steps with directories that copies and new manifests share.
 *
 * @module
 */

/** Whatever it is, a link that leads nowhere too. */
export function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** With all that is in it. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Makes the names in it durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const file = await Deno.open(directory);
  try {
    await file.sync();
  } finally {
    file.close();
  }
}
