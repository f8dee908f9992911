/**
 * Steps with directories that copies and new manifests share.
 *
 * @module
 */

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
