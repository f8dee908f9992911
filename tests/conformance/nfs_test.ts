/**
 * The contract, asked of a directory. With P4CACHE_TEST_NFS set to a mounted export it is
 * asked there; a directory of the local file system makes the same calls.
 */

import { nativeFile } from "../../src/posix/native_files.ts";
import { openPosix } from "../../src/posix/posix.ts";
import { openNfsBackend } from "../../src/storage/nfs/nfs_backend.ts";
import { type OpenStore, testBackend } from "./backend_suite.ts";

const posix = openPosix(nativeFile("libp4posix.so"));
const parent = Deno.env.get("P4CACHE_TEST_NFS") ?? Deno.env.get("TMPDIR") ?? "/tmp";

testBackend({
  name: "nfs",
  listedCount: 300,
  async open(): Promise<OpenStore> {
    const root = await Deno.makeTempDir({ dir: parent, prefix: "p4cache-nfs-" });
    const backend = await openNfsBackend({
      ...{ root, prefix: "pre/fix", initialize: true },
      posix,
    });
    const close = async (): Promise<void> => {
      await backend.close();
      await Deno.remove(root, { recursive: true });
    };
    return { backend, close };
  },
});
