import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { run, until } from "./site.ts";

const BUILD = new URL("../../build/", import.meta.url).pathname;
const EXECUTABLE = `${BUILD}p4-cache`;

/** Libraries that the executable itself asks the loader for. */
async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await run(["ldd", program], { PATH: "/usr/bin:/bin" });
  return [...stdout.matchAll(/\/\S+/g)].map(([path]) => path).filter((it) =>
    it !== program
  );
}

Deno.test("one file is enough: the executable runs where there is only libc and libgcc_s", async () => {
  const place = await Deno.makeTempDir({ prefix: "p4cache-bare-" });
  try {
    for (const name of ["depot", "store", "proc", "tmp"]) {
      await Deno.mkdir(`${place}/${name}`);
    }
    const libraries = await librariesOf(EXECUTABLE);
    for (const path of libraries) {
      await Deno.mkdir(`${place}${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.copyFile(path, `${place}${path}`);
    }
    deepStrictEqual(libraries.filter((it) => /stdc\+\+|deno|node/.test(it)), []);
    await Deno.copyFile(EXECUTABLE, `${place}/p4-cache`);
    await Deno.chmod(`${place}/p4-cache`, 0o755);
    await Deno.writeTextFile(
      `${place}/config.json`,
      JSON.stringify({
        depot_path: "/depot",
        primary: { type: "nfs", path: "/store", initialize: true },
        min_free_bytes: 0,
        upload_settle_ms: 0,
      }),
    );
    const bare = (...args: string[]): string[] => [
      "unshare",
      "--mount",
      "sh",
      "-c",
      'mount --bind /proc "$0/proc" && exec env -i /usr/sbin/chroot "$0" /p4-cache "$@"',
      place,
      ...args,
    ];
    const version = await run(bare("version"), { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" });
    match(version.stdout, /^p4-cache \d/);

    const runAndUpload = async (name: string): Promise<void> => {
      const [program, ...args] = bare("run", "--config", "/config.json");
      const daemon = new Deno.Command(program!, {
        args,
        env: { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" },
        stdin: "null",
        stdout: "null",
        stderr: "inherit",
      }).spawn();
      const ended = daemon.status;
      const isThere = (path: string): boolean => exists(`${place}/${path}`);
      await Promise.race([
        until("the daemon is ready", () => isThere("depot/.p4cache/shim.sock")),
        ended.then(({ code }) => Promise.reject(new Error(`it ended: ${code}`))),
      ]);
      await Deno.writeTextFile(`${place}/depot/${name}`, "content\n");
      await until("the file is uploaded", () => isThere(`store/${name}`));
      strictEqual(await Deno.readTextFile(`${place}/store/${name}`), "content\n");
      daemon.kill("SIGTERM");
      ok((await ended).success);
    };
    await runAndUpload("a,v");
    // Its parts as a power cut may leave files that nobody waited for.
    const native = `${place}/depot/.p4cache/native`;
    const parts = await Array.fromAsync(Deno.readDir(native));
    ok(parts.length > 0);
    for (const { name } of parts) await Deno.truncate(`${native}/${name}`);
    await runAndUpload("b,v");
    // Nothing that it would read and run again from where anybody may write.
    deepStrictEqual(await Array.fromAsync(Deno.readDir(`${place}/tmp`)), []);
  } finally {
    await Deno.remove(place, { recursive: true });
  }
});

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
