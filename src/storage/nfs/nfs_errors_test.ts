import { ok, strictEqual } from "node:assert/strict";
import { StorageError } from "../storage_error.ts";
import { StallError } from "./mount_calls.ts";
import { faultOfErrno, isAbsence, nfsError } from "./nfs_errors.ts";

const withCode = (code: string): Error => Object.assign(new Error(code), { code });

Deno.test("faultOfErrno() says which errors can pass by themselves", () => {
  for (const code of ["ESTALE", "EIO", "ETIMEDOUT", "EMFILE", "ENEWLYINVENTED"]) {
    strictEqual(faultOfErrno(withCode(code)), "unavailable", code);
  }
  for (const code of ["EACCES", "EPERM", "EROFS"]) {
    strictEqual(faultOfErrno(withCode(code)), "denied", code);
  }
  for (const code of ["ENOSPC", "EDQUOT"]) {
    strictEqual(faultOfErrno(withCode(code)), "full", code);
  }
  strictEqual(faultOfErrno(new StallError("x")), "unavailable");
});

Deno.test("isAbsence() takes no error but those of a missing name for absence", () => {
  ok(isAbsence(withCode("ENOENT")));
  ok(isAbsence(withCode("ENOTDIR")));
  for (const code of ["ESTALE", "EIO", "EACCES", "ELOOP"]) ok(!isAbsence(withCode(code)));
});

Deno.test("nfsError() leaves bugs and aborts as they are", () => {
  const bug = new TypeError("undefined is not a function");
  strictEqual(nfsError("head", "k", bug), bug);
  const fault = nfsError("head", "k", withCode("EACCES"));
  ok(fault instanceof StorageError && fault.fault === "denied");
});
