import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { isToGoOn, type UnfinishedRebuild } from "./unfinished_rebuild.ts";

const STOPPED_MS = Date.parse("2026-03-01T10:00:00Z");
const NOW_MS = Date.parse("2026-03-09T10:00:00Z");

interface Asked {
  readonly local?: string;
  readonly inStore?: string;
  readonly writtenMs?: number;
  readonly hasOwnStart?: boolean;
}

interface Answer {
  readonly isToGoOn: boolean;
  readonly names: string[];
}

async function ask(
  { local, inStore, writtenMs = STOPPED_MS, hasOwnStart = false }: Asked,
): Promise<Answer> {
  const root = await Deno.makeTempDir({ prefix: "p4-cache-unfinished-" });
  const rebuilt = `${root}/manifest.rebuilt`;
  await Deno.mkdir(rebuilt);
  await Deno.writeTextFile(`${rebuilt}/data.mdb`, "rows");
  await Deno.utime(`${rebuilt}/data.mdb`, writtenMs / 1000, writtenMs / 1000);
  if (local !== undefined) {
    await Deno.mkdir(`${root}/manifest-copies/${local}`, { recursive: true });
  }
  const rebuild: UnfinishedRebuild = {
    directory: `${root}/manifest`,
    hasOwnStart,
    nowMs: NOW_MS,
    storeCopies: () => Promise.resolve(inStore === undefined ? [] : [inStore]),
    printError: () => {},
  };
  try {
    return { isToGoOn: await isToGoOn(rebuild), names: namesIn(root) };
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function namesIn(root: string): string[] {
  return [...Deno.readDirSync(root)].map(({ name }) => name)
    .filter((name) => name !== "manifest-copies");
}

const GOES_ON: Answer = { isToGoOn: true, names: ["manifest.rebuilt"] };
const SET_ASIDE: Answer = {
  isToGoOn: false,
  names: ["manifest.unfinished-2026-03-09T10-00-00-000Z"],
};

Deno.test("a rebuild that was stopped goes on where no copy was made since", async () => {
  deepStrictEqual(await ask({}), GOES_ON);
  deepStrictEqual(await ask({ local: "2026-02-28T10-00-00Z" }), GOES_ON);
  deepStrictEqual(await ask({ inStore: "2026-02-28T10-00-00Z" }), GOES_ON);
});

Deno.test("a copy of a clock that was wrong is no newer one", async () => {
  deepStrictEqual(await ask({ local: "2031-01-01T10-00-00Z" }), GOES_ON);
});

Deno.test("a rebuild that is older than a copy is set aside, and kept", async () => {
  deepStrictEqual(await ask({ local: "2026-03-05T10-00-00Z" }), SET_ASIDE);
  deepStrictEqual(await ask({ inStore: "2026-03-05T10-00-00Z" }), SET_ASIDE);
});

Deno.test("of a rebuild of the future nothing says that it is newer than a copy", async () => {
  const writtenMs = Date.parse("2031-01-01T10:00:00Z");
  deepStrictEqual(await ask({ writtenMs, local: "2026-02-28T10-00-00Z" }), SET_ASIDE);
  deepStrictEqual(await ask({ writtenMs }), GOES_ON);
});

Deno.test("a start of one's own is refused beside an unfinished rebuild", async () => {
  await rejects(ask({ hasOwnStart: true }), {
    fault: "unavailable",
    message: /unfinished rebuild .* without --copy and --no-copy, or move it away/,
  });
});

Deno.test("without a rebuild that was stopped there is nothing to go on with", async () => {
  const rebuild: UnfinishedRebuild = {
    directory: "/nonexistent/manifest",
    hasOwnStart: true,
    nowMs: NOW_MS,
    storeCopies: () => Promise.reject(new Error("nobody asks")),
    printError: () => {},
  };
  strictEqual(await isToGoOn(rebuild), false);
});
