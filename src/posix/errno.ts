/**
 * Names of the kernel's error numbers, as Linux has them on x86-64 and arm64.
 *
 * @module
 */

const NAMES: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  7: "E2BIG",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  14: "EFAULT",
  16: "EBUSY",
  17: "EEXIST",
  18: "EXDEV",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  26: "ETXTBSY",
  27: "EFBIG",
  28: "ENOSPC",
  29: "ESPIPE",
  30: "EROFS",
  31: "EMLINK",
  34: "ERANGE",
  36: "ENAMETOOLONG",
  37: "ENOLCK",
  38: "ENOSYS",
  39: "ENOTEMPTY",
  40: "ELOOP",
  61: "ENODATA",
  71: "EPROTO",
  75: "EOVERFLOW",
  95: "EOPNOTSUPP",
  105: "ENOBUFS",
  110: "ETIMEDOUT",
  116: "ESTALE",
  117: "EUCLEAN",
  121: "EREMOTEIO",
  122: "EDQUOT",
};

/** `ENOENT` for 2; `E<number>` for one that no file system gives. */
export function errnoName(errno: number): string {
  return NAMES[errno] ?? `E${errno}`;
}

export const ENOENT = 2;
export const EEXIST = 17;
export const ENOTDIR = 20;
export const ENAMETOOLONG = 36;
