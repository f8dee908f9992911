/**
 * A directory of native parts for P4CACHE_LIB in which the watcher is started with
 * `--limited-queue`: the kernel then drops events early, and says so.
 *
 * @module
 */

const BUILD = Deno.env.get("P4CACHE_LIB") ??
  new URL("../../build", import.meta.url).pathname;

export interface NativeLibrary extends Disposable {
  readonly path: string;
}

export function limitedQueueLibrary(): NativeLibrary {
  const path = Deno.makeTempDirSync({ prefix: "p4cache-lib-" });
  for (const name of ["libp4posix.so", "libp4shim.so", "p4-cache-gate"]) {
    Deno.symlinkSync(`${BUILD}/${name}`, `${path}/${name}`);
  }
  const wrapper = `${path}/p4-cache-fanotify`;
  Deno.writeTextFileSync(
    wrapper,
    `#!/bin/sh\nexec "${BUILD}/p4-cache-fanotify" --limited-queue "$@"\n`,
  );
  Deno.chmodSync(wrapper, 0o755);
  return {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}
