import { match, strictEqual, throws } from "node:assert/strict";
import { refuseForeignState, warningOfOwner } from "./own_directories.ts";

/** Not of this machine's users. */
const OTHER_UID = 54_321;
const UID = Deno.uid() ?? 0;
/** Files can be given away by root only. */
const BY_ROOT = { ignore: UID !== 0 };

/** A state directory as a daemon leaves it. */
function withState(work: (state: string) => void): void {
  const depot = Deno.makeTempDirSync({ prefix: "own-directories-" });
  const state = `${depot}/.p4cache`;
  try {
    Deno.mkdirSync(state, { mode: 0o711 });
    for (const name of ["tmp", "evicting", "manifest", "manifest-copies", "native"]) {
      Deno.mkdirSync(`${state}/${name}`, { mode: 0o700 });
    }
    for (const name of ["daemon.lock", "manifest.reserve", "manifest/data.mdb"]) {
      Deno.writeTextFileSync(`${state}/${name}`, "");
    }
    work(state);
  } finally {
    Deno.removeSync(depot, { recursive: true });
  }
}

function refused(state: string, what: RegExp, uid = UID): void {
  throws(() => refuseForeignState(state, uid), {
    name: "StartError",
    status: 78,
    message: what,
  });
}

/** The name is a link to what had it. */
function moveBehindLink(path: string): void {
  Deno.renameSync(path, `${path}-real`);
  Deno.symlinkSync(`${path}-real`, path);
}

Deno.test("refuseForeignState() has nothing against what a daemon leaves, nor against nothing", () =>
  withState((state) => {
    refuseForeignState(state);
    Deno.removeSync(state, { recursive: true });
    refuseForeignState(state);
  }));

for (
  const below of ["", "/tmp", "/evicting", "/manifest", "/manifest-copies", "/native"]
) {
  const shown = `.p4cache${below}`;
  Deno.test(`refuseForeignState() refuses a link for ${shown}`, () =>
    withState((state) => {
      moveBehindLink(`${state}${below}`);
      refused(state, new RegExp(`${shown}: it is a symbolic link`));
    }));

  Deno.test(`refuseForeignState() refuses a file for ${shown}`, () =>
    withState((state) => {
      Deno.removeSync(`${state}${below}`, { recursive: true });
      Deno.writeTextFileSync(`${state}${below}`, "");
      refused(state, new RegExp(`${shown}: it is no directory`));
    }));

  for (const mode of [0o770, 0o702, 0o1777]) {
    Deno.test(`refuseForeignState() refuses the mode ${mode.toString(8)} of ${shown}`, () =>
      withState((state) => {
        Deno.chmodSync(`${state}${below}`, mode);
        refused(
          state,
          new RegExp(`${shown}: its mode is ${mode.toString(8)}.*chmod go-w`),
        );
      }));
  }

  Deno.test({
    name: `refuseForeignState() as root refuses ${shown} of another user`,
    ...BY_ROOT,
    fn: () =>
      withState((state) => {
        Deno.chownSync(`${state}${below}`, OTHER_UID, null);
        refused(state, new RegExp(`${shown}: it belongs to UID ${OTHER_UID}.*sudo -u`));
      }),
  });
}

Deno.test({
  name:
    "refuseForeignState() as p4d's user takes what is his, or root's, and nobody else's",
  ...BY_ROOT,
  fn: () =>
    withState((state) => {
      Deno.chownSync(`${state}/tmp`, OTHER_UID, null);
      refuseForeignState(state, OTHER_UID);
      refused(state, /tmp: it belongs to UID 54321/, OTHER_UID + 1);
    }),
});

for (const name of ["daemon.lock", "manifest.reserve", "manifest/data.mdb"]) {
  Deno.test(`refuseForeignState() refuses a link for .p4cache/${name}`, () =>
    withState((state) => {
      moveBehindLink(`${state}/${name}`);
      refused(state, new RegExp(`${name}: it is a symbolic link`));
    }));
}

Deno.test("warningOfOwner() tells root, and nobody else, of a depot that others may change", () =>
  withState((state) => {
    const depot = state.replace(/\/[^/]*$/, "");
    strictEqual(warningOfOwner(depot, OTHER_UID), null);
    if (UID !== 0) return match(warningOfOwner(depot, 0)!, new RegExp(`UID ${UID}`));
    strictEqual(warningOfOwner(depot, 0), null);
    Deno.chmodSync(depot, 0o777);
    match(warningOfOwner(depot, 0)!, /who may write in it can have root write elsewhere/);
    Deno.chownSync(depot, OTHER_UID, null);
    match(warningOfOwner(depot, 0)!, /UID 54321, who owns it, can have root write/);
  }));
