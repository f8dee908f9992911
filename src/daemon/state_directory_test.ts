import { match, strictEqual } from "node:assert/strict";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { createMemoryLogger } from "../obs/logger.ts";
import { type Posix, PosixError } from "../posix/posix.ts";
import { setStateMode } from "./state_directory.ts";

const EROFS = 30;

Deno.test("on a depot that became read-only the mode of .p4cache is left, and told only if it should change", async () => {
  await using fixture = await openEngineFixture();
  const { root } = fixture.context;
  const modeOf = (): number => fixture.posix.lstat(`${root}/.p4cache`)!.mode;
  const log = createMemoryLogger();
  setStateMode({ posix: fixture.posix, log }, root, 0o711);
  strictEqual(modeOf(), 0o711);
  const posix: Posix = Object.create(fixture.posix, {
    lstat: { value: fixture.posix.lstat.bind(fixture.posix) },
    chmod: {
      value: (path: string): never => {
        throw new PosixError("chmod", path, EROFS);
      },
    },
  });
  setStateMode({ posix, log }, root, 0o711);
  strictEqual(log.records.length, 0);
  setStateMode({ posix, log }, root, 0o700);
  strictEqual(modeOf(), 0o711);
  strictEqual(log.records.length, 1);
  match(log.records[0]!.message, /kept out.*EROFS/);
});
