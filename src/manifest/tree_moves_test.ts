import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { SYSTEM_CLOCK } from "../core/clock.ts";
import {
  type DepotPath,
  objectKeyOf,
  parseDepotPath,
  PATH_BYTES_MAX,
} from "../core/names.ts";
import { type Leaving, ManifestError } from "./manifest.ts";
import { ManifestStore } from "./manifest_store.ts";
import { MemKeyValue } from "./mem_key_value.ts";
import { decodeMoving, encodeMoving, type Moving } from "./moving.ts";
import { firstWrites } from "./schema.ts";

const ROWS_PER_STEP = 2;
const [D, E, F] = ["d", "e", "f"].map(parseDepotPath) as [
  DepotPath,
  DepotPath,
  DepotPath,
];

/** Tables that outlive who opens them, until whose last commit is over. */
interface Tables {
  readonly store: MemKeyValue;
  /** Commits from now on that succeed. */
  commitsLeft: number;
  commits: number;
}

async function emptyTables(): Promise<Tables> {
  const store = new MemKeyValue();
  await store.commit(firstWrites());
  return { store, commitsLeft: Infinity, commits: 0 };
}

function open(tables: Tables): ManifestStore {
  const { store } = tables;
  return new ManifestStore({
    store: {
      get: (table, key) => store.get(table, key),
      keys: (table, range) => store.keys(table, range),
      read: (table, key, decode) => store.read(table, key, decode),
      range: (table, range) => store.range(table, range),
      sealedRow: () => null,
      snapshot: () => store.snapshot(),
      count: (table) => store.count(table),
      close: () => Promise.resolve(),
      commit: async (writes) => {
        if (tables.commitsLeft-- <= 0) throw new ManifestError("full", "no room");
        tables.commits += 1;
        await store.commit(writes);
      },
    },
    clock: SYSTEM_CLOCK,
    readOnly: false,
    rowsPerStep: ROWS_PER_STEP,
    backup: () => Promise.reject(new Error("no files")),
  });
}

/** A row for each name: its size says which. */
async function add(manifest: ManifestStore, ...names: string[]): Promise<void> {
  await Promise.all(names.map((name) => {
    const sizeBytes = [...name].reduce(
      (sum, char) => (sum * 31 + char.charCodeAt(0)) % 1_000_003,
      7,
    );
    return manifest.apply(parseDepotPath(name), "absent", {
      kind: "written",
      stat: { ...NO_STAT, sizeBytes },
      nowS: 1,
    });
  }));
}

const NO_STAT = {
  sizeBytes: 0,
  mtimeNs: 1n,
  ctimeNs: 1n,
  mode: 0o444,
  uid: 1,
  gid: 1,
  ino: 3n,
  dev: 4n,
};

/** Every row, by the size that tells it. */
function rows(manifest: ManifestStore): Record<string, number> {
  const found = manifest.entries("", null, 1_000);
  return Object.fromEntries(
    found.map(({ path, entry }) => [path, entry.local.sizeBytes]),
  );
}

async function isSound(manifest: ManifestStore): Promise<void> {
  const { kept, counted } = await manifest.recount();
  deepStrictEqual(kept, counted);
}

const LEAVING: Leaving = { firstKey: (path) => objectKeyOf(path) };

const NAMES = ["a,v", "b,v", "c/d,v", "c/e,v", "f,v", "g,v", "\xe9,v"];

interface Act {
  readonly what: string;
  readonly before: readonly string[];
  run(manifest: ManifestStore): Promise<unknown>;
}

const ACTS: readonly Act[] = [
  {
    what: "the rename of a directory",
    before: [...NAMES.map((name) => `d/${name}`), "d2,v", "e/a,v"],
    run: (manifest) => manifest.moveTree(D, E, 5, LEAVING),
  },
  {
    what: "the exchange of two directories",
    before: [
      ...NAMES.map((name) => `d/${name}`),
      ...["a,v", "c/e,v", "d,v", "x,v", "y,v"].map((name) => `e/${name}`),
    ],
    run: (manifest) => manifest.exchangeTrees(D, E, 5, LEAVING),
  },
];

for (const { what, before, run } of ACTS) {
  Deno.test(`a death between any two commits of ${what} leaves what the next start finishes`, async () => {
    const whole = await emptyTables();
    const undisturbed = open(whole);
    await add(undisturbed, ...before);
    whole.commits = 0;
    await run(undisturbed);
    const { commits } = whole;
    strictEqual(commits >= 4, true, `${commits} commits show nothing`);

    for (let done = 1; done < commits; done++) {
      const tables = await emptyTables();
      const first = open(tables);
      await add(first, ...before);
      tables.commitsLeft = done;
      await rejects(run(first), { fault: "full" });
      // Another process, which is killed once more after each of its commits.
      for (let rest = done; rest < commits; rest++) {
        tables.commitsLeft = 1;
        const next = open(tables);
        const isLast = rest === commits - 1;
        if (isLast) deepStrictEqual((await next.finishMove(LEAVING))?.left, []);
        else await rejects(next.finishMove(LEAVING), { fault: "full" });
      }
      tables.commitsLeft = Infinity;
      const last = open(tables);
      deepStrictEqual(rows(last), rows(undisturbed));
      deepStrictEqual(
        last.paths(null, 100).map((path) => last.tombstonesOf(path).length),
        undisturbed.paths(null, 100).map((path) => undisturbed.tombstonesOf(path).length),
      );
      strictEqual(await last.finishMove(LEAVING), null, "done once");
      await isSound(last);
    }
  });
}

Deno.test("what a start finishes ends between two steps at a stop, and the next one goes on", async () => {
  const tables = await emptyTables();
  const first = open(tables);
  await add(first, ...NAMES.map((name) => `d/${name}`));
  const sizes = Object.values(rows(first));
  tables.commitsLeft = 1;
  await rejects(first.moveTree(D, E, 5, LEAVING), { fault: "full" });
  tables.commitsLeft = Infinity;
  tables.commits = 0;
  const next = open(tables);
  const stop = new AbortController();
  const finishing = next.finishMove(LEAVING, stop.signal);
  // It has begun its first step, and no more.
  await Promise.resolve();
  stop.abort(new Error("a stop"));
  await rejects(finishing, { message: "a stop" });
  strictEqual(tables.commits, 1);
  strictEqual((await open(tables).finishMove(LEAVING))?.to, E);
  deepStrictEqual(
    rows(next),
    Object.fromEntries(NAMES.map((name, i) => [`e/${name}`, sizes[i]])),
  );
});

Deno.test("a directory whose rows fit one step moves in one commit, with nothing to finish", async () => {
  const tables = await emptyTables();
  const manifest = open(tables);
  await add(manifest, "d/a,v");
  tables.commitsLeft = 1;
  await manifest.moveTree(D, E, 5, LEAVING);
  tables.commitsLeft = 0;
  strictEqual(await manifest.finishMove(LEAVING), null);
});

Deno.test("a row that a look from before the rename writes meanwhile moves along", async () => {
  const manifest = open(await emptyTables());
  await add(manifest, "d/a,v");
  const moving = manifest.moveTree(D, E, 5, LEAVING);
  // Behind the move, in its group or the next.
  await Promise.all([add(manifest, "d/b,v"), moving]);
  deepStrictEqual(manifest.paths(null, 10), ["e/a,v", "e/b,v"]);
});

Deno.test("a parent that is renamed while the rename of its child is cut short takes the whole child along", async () => {
  const tables = await emptyTables();
  const manifest = open(tables);
  const inner = NAMES.map((name) => `f/d/${name}`);
  await add(manifest, ...inner, "f/x,v");
  const was = rows(manifest);
  tables.commitsLeft = 1;
  const [from, to] = ["f/d", "f/e"].map(parseDepotPath) as [DepotPath, DepotPath];
  await rejects(manifest.moveTree(from, to, 5, LEAVING), { fault: "full" });
  tables.commitsLeft = Infinity;
  await manifest.moveTree(F, D, 6, LEAVING);
  deepStrictEqual(
    rows(manifest),
    Object.fromEntries(
      Object.entries(was).map(([path, size]) => [
        path.replace(/^f\/d\//, "d/e/").replace(/^f\//, "d/"),
        size,
      ]),
    ),
  );
  strictEqual(await manifest.finishMove(LEAVING), null);
});

Deno.test("moves that are asked for at once are done one after the other", async () => {
  const manifest = open(await emptyTables());
  await add(manifest, ...NAMES.map((name) => `d/${name}`));
  const sizes = Object.values(rows(manifest));
  await Promise.all([
    manifest.moveTree(D, E, 5, LEAVING),
    manifest.moveTree(E, F, 6, LEAVING),
    manifest.exchangeTrees(F, D, 7, LEAVING),
    manifest.finishMove(LEAVING),
  ]);
  deepStrictEqual(Object.keys(rows(manifest)).sort(), NAMES.map((name) => `d/${name}`));
  deepStrictEqual(Object.values(rows(manifest)), sizes);
  await isSound(manifest);
});

Deno.test("what a start finishes leaves rows where their paths would be too long", async () => {
  const tables = await emptyTables();
  const manifest = open(tables);
  const long = `d/${"b".repeat(PATH_BYTES_MAX - 3)}`;
  const to = parseDepotPath("e".repeat(10));
  await add(manifest, long, ...NAMES.map((name) => `d/${name}`));
  tables.commitsLeft = 1;
  await rejects(manifest.moveTree(D, to, 5, LEAVING), { fault: "full" });
  tables.commitsLeft = Infinity;
  const finished = await open(tables).finishMove(LEAVING);
  strictEqual(finished?.to, to);
  deepStrictEqual(open(tables).paths(null, 100).filter((path) => path.startsWith("d/")), [
    long,
  ]);
});

Deno.test("the record of a move comes back as it was, with each byte of its paths", () => {
  const name = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1))
    .filter((char) => !"/\n".includes(char)).join("");
  const moving: Moving = {
    kind: "exchange",
    from: parseDepotPath(`d/${name}`),
    to: parseDepotPath("e"),
    toldMs: 1_700_000_000_123,
    whiteout: true,
    after: name,
  };
  const text = encodeMoving(moving);
  strictEqual(/^[ -~]*$/.test(text), true);
  deepStrictEqual(decodeMoving(text), moving);
});

Deno.test("a record that is none is refused, not guessed", async () => {
  const tables = await emptyTables();
  const manifest = open(tables);
  for (const text of ["", "null", "{}", '{"kind":"move","from":"d","to":"../e"}']) {
    await manifest.setMeta("moving" as "instance_id", text);
    await rejects(open(tables).finishMove(LEAVING), { fault: "damaged" });
  }
});

Deno.test("a row that is damaged moves nothing of its step", async () => {
  for (const kind of ["moveTree", "exchangeTrees"] as const) {
    const tables = await emptyTables();
    await add(open(tables), "d/a,v", "d/b,v");
    const [, damaged] = tables.store.range("rows_by_id", {
      from: "",
      before: null,
      limit: 2,
    });
    const value = damaged!.value.with(60, damaged!.value[60]! ^ 1);
    await tables.store.commit([{ table: "rows_by_id", key: damaged!.key, value }]);
    const manifest = open(tables);
    await rejects(manifest[kind](D, E, 5, {}), { fault: "damaged" });
    deepStrictEqual(manifest.paths(null, 9), ["d/a,v", "d/b,v"]);
    strictEqual(manifest.meta("moving"), null);
  }
});
