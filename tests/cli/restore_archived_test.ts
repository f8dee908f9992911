/**
 * `p4-cache restore-archived`, typed, over a stand-in for S3 with archive classes.
 *
 * @module
 */

import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { type Finished, Site, until } from "../e2e/site.ts";
import { startS3StandIn } from "../support/s3_stand_in.ts";

type Typed = (...args: string[]) => Promise<[code: number, output: string]>;

function typist(site: Site): Typed {
  const config = ["--config", `${site.directory}/config.json`];
  return async (...args) => {
    const { code, stdout, stderr }: Finished = await site.cli(...args, ...config);
    return [code, stdout + stderr];
  };
}

Deno.test("evicted files that a lifecycle rule archived are asked for, followed, and read", async () => {
  await using server = startS3StandIn("archive");
  await using site = await Site.open({
    config: {
      primary: {
        type: "s3",
        bucket: "archive",
        endpoint: server.endpoint,
        endpoint_pin: true,
        path_prefix: "p4",
        access_key: "key",
        secret_key: "secret",
      },
    },
  });
  const type = typist(site);
  await site.start();
  await Deno.mkdir(`${site.depot}/d`);
  for (const name of ["a,v", "b,v", "c,v"]) {
    await Deno.writeTextFile(`${site.depot}/d/${name}`, `text of ${name}`);
  }
  await site.uploaded(3);
  await site.evictAll();
  server.archive("d/a,v", "GLACIER");
  server.archive("d/b,v", "DEEP_ARCHIVE");
  const read = (name: string): Promise<Finished> =>
    site.program(["cat", `${site.depot}/d/${name}`], { shim: true });
  strictEqual((await read("c,v")).stdout, "text of c,v");
  match((await read("a,v")).stderr, /Input\/output error/);
  match((await type("failed-ops", "list"))[1], /d\/a,v: .*p4-cache restore-archived/);

  deepStrictEqual(await type("restore-archived", "d/a,v", "--dry-run"), [
    1,
    "1 file, 11 B: 0 can be read\n1 file archived, 11 B, not asked for\n",
  ]);
  strictEqual(server.requests.some(({ query }) => query.has("restore")), false);
  deepStrictEqual(await type("restore-archived", "--all-needed", "--speed", "bulk"), [
    1,
    "1 file, 11 B: 0 can be read\n1 file asked for now\n",
  ]);
  await until("the one that was read is evicted again", () => site.residents() === 0);
  deepStrictEqual(await type("restore-archived", "--all", "--json", "--days", "2"), [
    1,
    '{"dryRun":false,"files":3,"bytes":33,"readableFiles":1,"archivedFiles":0,' +
    '"archivedBytes":0,"requestedFiles":1,"retrievingFiles":1,"missingFiles":0,' +
    '"failedFiles":0}\n',
  ]);
  const bodies = server.requests.filter(({ query }) => query.has("restore"))
    .map(({ key, body }) => [key, /<Days>.*<\/Tier>/.exec(body)?.[0]]);
  const parameters = "<GlacierJobParameters><Tier>";
  deepStrictEqual(bodies, [
    ["p4/d/a,v", `<Days>7</Days>${parameters}Bulk</Tier>`],
    ["p4/d/b,v", `<Days>2</Days>${parameters}Standard</Tier>`],
  ]);
  const looks = countHeads(server.requests);
  const waiting = type("restore-archived", "--all", "--wait", "--poll-secs", "1");
  // It has looked once at all three, and found that it must wait.
  while (countHeads(server.requests) < looks + 3) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  server.finishRetrievals();
  const [code, output] = await waiting;
  strictEqual(code, 0, output);
  match(output, /^3 files, 33 B: 3 can be read$/m);
  deepStrictEqual(
    [(await read("a,v")).stdout, (await read("b,v")).stdout],
    ["text of a,v", "text of b,v"],
  );
  deepStrictEqual(await type("restore-archived", "d/none,v"), [
    0,
    "0 files, 0 B: 0 can be read\nd/none,v: no evicted file\n",
  ]);
  strictEqual((await type("restore-archived"))[0], 2);
  strictEqual((await type("restore-archived", "--all", "--speed", "fast"))[0], 2);
});

function countHeads(requests: readonly { readonly method: string }[]): number {
  return requests.filter(({ method }) => method === "HEAD").length;
}
