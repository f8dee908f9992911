/**
 * The functions of libp4posix.so, as Deno calls them. helpers/posix/*.c says what each does.
 *
 * Each returns >= 0 or -errno. A name that ends in `Later` is the same function on another
 * thread: what may wait for the disk.
 *
 * @module
 */

/** Must equal P4POSIX_ABI_VERSION. */
export const ABI_VERSION = 8;

/** `p4posix_abi(index)` gives these: version, then the bytes of each shared layout. */
export const ABI: readonly number[] = [ABI_VERSION, 96, 32, 40, 32, 112, 48, 16];

export const SYMBOLS = {
  p4posix_abi: { parameters: ["i32"], result: "i32" },
  p4posix_not_dumpable: { parameters: [], result: "i32" },
  p4posix_bound_memory: { parameters: [], result: "i32" },

  p4posix_lstat: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_fstat: { parameters: ["i32", "buffer"], result: "i32" },
  p4posix_statvfs: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_make_dirs: { parameters: ["buffer", "i32"], result: "i32" },
  p4posix_unlink: { parameters: ["buffer"], result: "i32" },
  p4posix_rmdir: { parameters: ["buffer"], result: "i32" },
  p4posix_rename: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_rename_no_replace: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_exchange: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_link: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_chmod: { parameters: ["buffer", "i32"], result: "i32" },
  p4posix_chown: { parameters: ["buffer", "i64", "i64"], result: "i32" },
  p4posix_set_times: { parameters: ["buffer", "i64", "i64"], result: "i32" },
  p4posix_make_marker: { parameters: ["buffer", "buffer"], result: "i32" },
  p4posix_has_writer: { parameters: ["buffer"], result: "i32" },

  p4posix_take_out: { parameters: ["buffer", "buffer", "i32", "buffer"], result: "i32" },
  p4posix_recover_exchange: { parameters: ["buffer", "buffer"], result: "i32" },

  p4posix_open_read: { parameters: ["buffer"], result: "i32" },
  p4posix_create_temp: { parameters: ["buffer", "i32"], result: "i32" },
  p4posix_close: { parameters: ["i32"], result: "i32" },
  p4posix_truncate: { parameters: ["i32", "i64"], result: "i32" },
  p4posix_read: { parameters: ["i32", "buffer", "i32", "i64"], result: "i32" },
  readLater: {
    name: "p4posix_read",
    parameters: ["i32", "buffer", "i32", "i64"],
    result: "i32",
    nonblocking: true,
  },
  writeLater: {
    name: "p4posix_write",
    parameters: ["i32", "buffer", "i32", "i64"],
    result: "i32",
    nonblocking: true,
  },
  fsyncLater: {
    name: "p4posix_fsync",
    parameters: ["i32"],
    result: "i32",
    nonblocking: true,
  },
  fdatasyncLater: {
    name: "p4posix_fdatasync",
    parameters: ["i32"],
    result: "i32",
    nonblocking: true,
  },
  fsyncPathLater: {
    name: "p4posix_fsync_path",
    parameters: ["buffer"],
    result: "i32",
    nonblocking: true,
  },
  createNamedLater: {
    name: "p4posix_create_named",
    parameters: ["buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  readFileLater: {
    name: "p4posix_read_file",
    parameters: ["buffer", "buffer", "i32", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  bringLater: {
    name: "p4posix_bring",
    parameters: [
      "buffer",
      "buffer",
      "buffer",
      "i32",
      "buffer",
      "buffer",
      "buffer",
      "buffer",
    ],
    result: "i32",
    nonblocking: true,
  },
  publishLater: {
    name: "p4posix_publish",
    parameters: ["buffer", "buffer", "i32", "buffer", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  putMarkerLater: {
    name: "p4posix_put_marker",
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },

  p4posix_walk_open: {
    parameters: ["buffer", "buffer", "i32", "i32", "buffer"],
    result: "i32",
  },
  p4posix_walk_next: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  walkNextLater: {
    name: "p4posix_walk_next",
    parameters: ["pointer", "buffer", "i32"],
    result: "i32",
    nonblocking: true,
  },
  p4posix_walk_close: { parameters: ["pointer"], result: "void" },

  p4posix_leaf_pages: {
    parameters: ["i32", "buffer", "buffer", "buffer", "buffer", "i32"],
    result: "i32",
  },

  p4posix_rows_open: { parameters: ["i32", "buffer"], result: "i32" },
  p4posix_rows_renew: { parameters: ["pointer"], result: "i32" },
  p4posix_rows_find: {
    parameters: ["pointer", "buffer", "i32", "buffer", "i32"],
    result: "i32",
  },
  p4posix_rows_close: { parameters: ["pointer"], result: "void" },
} as const;

export type Calls = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
