/**
 * Where the native parts are: libp4shim.so, libp4posix.so, the two helpers, the two addons
 * for Deno, and the C++ library that one of these wants, for hosts that have none.
 *
 * Installed files win: beside the executable, then /usr/lib/p4-cache. Otherwise the copy
 * that is embedded in the executable is written to a private directory once, because a
 * library or program must be a real file to be loaded or run, and because Deno's own
 * extraction goes to a /tmp that may be mounted noexec or be anybody's to write.
 *
 * @module
 */

import { Buffer } from "node:buffer";

export type NativeName =
  | "libp4shim.so"
  | "libp4posix.so"
  | "p4-cache-gate"
  | "p4-cache-fanotify"
  | "lmdb.node"
  | "blake.node"
  | "libstdc++.so.6";

const INSTALLED_DIRECTORY = "/usr/lib/p4-cache";

/** The embedded parts lie beside the bundle; a source tree has them in build/. */
const bundleDirectory = import.meta.dirname ?? "/";

let privateDirectory: string | null = null;

/**
 * Says where embedded parts are written when they are not installed: a directory that only
 * this user can write, on a file system that allows execution. Call before the first
 * {@linkcode nativeFile}; without it, a directory of this user under TMPDIR is used.
 */
export function useNativeDirectory(directory: string): void {
  privateDirectory = directory;
}

/**
 * The absolute path of `name`.
 *
 * @throws {Error} If it is nowhere, or the private directory belongs to somebody else.
 */
export function nativeFile(name: NativeName): string {
  const executableDirectory = Deno.execPath().replace(/\/[^/]*$/, "");
  const override = Deno.env.get("P4CACHE_LIB");
  const places = [
    ...(override === undefined ? [] : [override]),
    executableDirectory,
    INSTALLED_DIRECTORY,
    ...(Deno.build.standalone ? [] : [`${bundleDirectory}/../../build`]),
  ];
  for (const place of places) {
    if (isFile(`${place}/${name}`)) return `${place}/${name}`;
  }
  const embedded = `${bundleDirectory}/${name}`;
  if (!isFile(embedded)) {
    throw new Error(
      `Cannot find ${name}: looked in ${places.join(", ")} and in the executable; ` +
        `reinstall p4-cache or set P4CACHE_LIB to the directory that has it`,
    );
  }
  return Deno.build.standalone ? extracted(name, embedded) : embedded;
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function extracted(name: string, embedded: string): string {
  const sums = JSON.parse(Deno.readTextFileSync(`${bundleDirectory}/natives.json`));
  const sum = String(sums[name]).slice(0, 16);
  const path = `${openPrivateDirectory()}/${sum}-${name}`;
  placeNative(path, Deno.readFileSync(embedded));
  return path;
}

/**
 * Sees to it that `path` has `content` and may be executed; a file that has it stays. What is
 * there is compared, whatever its name says: it may be of a version that did not wait for the
 * disk before it gave the name, and then a power cut leaves it empty.
 */
export function placeNative(path: string, content: Uint8Array): void {
  if (hasContent(path, content)) return;
  const directory = path.replace(/\/[^/]*$/, "");
  const temporary = Deno.makeTempFileSync({ dir: directory, prefix: "tmp." });
  Deno.writeFileSync(temporary, content);
  Deno.chmodSync(temporary, 0o755);
  sync(temporary);
  Deno.renameSync(temporary, path);
  sync(directory);
}

function hasContent(path: string, content: Uint8Array): boolean {
  try {
    const { isFile, size, mode } = Deno.statSync(path);
    return isFile && size === content.length && ((mode ?? 0) & 0o755) === 0o755 &&
      Buffer.from(content.buffer, content.byteOffset, content.byteLength)
        .equals(Deno.readFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** On the disk, also if power goes now. */
function sync(path: string): void {
  using file = Deno.openSync(path);
  file.syncSync();
}

function openPrivateDirectory(): string {
  const directory = privateDirectory ??
    `${Deno.env.get("TMPDIR") ?? "/tmp"}/p4-cache-native-${Deno.uid()}`;
  Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { uid, mode, isSymlink } = Deno.lstatSync(directory);
  if (isSymlink || uid !== Deno.uid() || ((mode ?? 0) & 0o022) !== 0) {
    throw new Error(
      `Cannot use ${directory} for native parts: it must be a directory of UID ` +
        `${Deno.uid()} that nobody else can write; remove it, or set TMPDIR`,
    );
  }
  return directory;
}
