/**
 * What commands say and return where they cannot do what they are asked.
 *
 * @module
 */

import { match, ok, strictEqual } from "node:assert/strict";
import { Site } from "../e2e/site.ts";

Deno.test("status waits ten seconds for a daemon that hangs, and says so", async () => {
  await using site = await Site.open();
  await site.start();
  site.signal("SIGSTOP");
  const { code, stderr } = await site.cli(
    "status",
    "--config",
    `${site.directory}/config.json`,
  );
  site.signal("SIGCONT");
  strictEqual(code, 3);
  match(stderr, /^p4-cache status: The daemon has not answered for 10 s: /);
});

Deno.test("prefetch without a daemon says that, and not that archives are missing", async () => {
  await using site = await Site.open();
  await site.start();
  await Deno.mkdir(`${site.depot}/d`);
  await Deno.writeTextFile(`${site.depot}/d/a,v`, "text");
  await site.end("SIGTERM");
  const records = `${site.directory}/checkpoint`;
  const rev = "@pv@ 9 @db.rev@ @//d/a@ 1 0 0 1 1700000000 1700000000 " +
    "D41D8CD98F00B204E9800998ECF8427E 4 0 0 @//d/b@ @1.1@ 0 \n";
  await Deno.writeTextFile(records, rev);
  const { code, stderr } = await site.cli(
    "prefetch",
    "--checkpoint",
    records,
    "--path",
    "//d/...",
    "--config",
    `${site.directory}/config.json`,
  );
  strictEqual(code, 3, stderr);
  match(stderr, /No daemon listens on /);
});

Deno.test("a configuration that is a directory is a matter of the configuration", async () => {
  await using site = await Site.open();
  for (
    const command of [["verify", "--checkpoint", "/dev/null"], [
      "prefetch",
      "--change",
      "1",
      "--checkpoint",
      "/dev/null",
    ]]
  ) {
    const { code, stderr } = await site.cli(...command, "--config", site.directory);
    strictEqual(code, 78, `${command}: ${stderr}`);
  }
});

Deno.test("no manifest is no damage, and what a command may not use is no bug", async () => {
  await using site = await Site.open();
  const config = ["--config", `${site.directory}/config.json`];
  const rehydrate = await site.cli("rehydrate", ...config);
  strictEqual(rehydrate.code, 3, rehydrate.stderr);
  const list = await site.cli("restore-archived", "--list", site.directory, ...config);
  strictEqual(list.code, 3, list.stderr);
  ok(!/ {4}at /.test(list.stderr), list.stderr);
});

Deno.test("failed-ops list --json is JSON, also where a crash cut a line short", async () => {
  await using site = await Site.open();
  await site.start();
  await site.end("SIGTERM");
  const ledger = `${site.depot}/.p4cache/p4-cache-failed-ops.log`;
  await Deno.writeTextFile(ledger, '{"ts":"2026-01-01","op":"upl');
  const config = ["--config", `${site.directory}/config.json`];
  const { code, stdout } = await site.cli("failed-ops", "list", "--json", ...config);
  strictEqual(code, 0);
  strictEqual(JSON.parse(stdout).torn, '{"ts":"2026-01-01","op":"upl');
});

Deno.test("SIGHUP while the daemon starts does not end it", async () => {
  await using site = await Site.open();
  const pipe = `${site.directory}/config.pipe`;
  strictEqual((await new Deno.Command("mkfifo", { args: [pipe] }).output()).code, 0);
  const daemon = site.spawn(["run", "--config", pipe]);
  // The opening waits until the daemon begins to read its configuration.
  const writer = await Deno.open(pipe, { write: true });
  daemon.kill("SIGHUP");
  await writer.write(new TextEncoder().encode("no configuration"));
  writer.close();
  const { code, signal } = await daemon.status;
  strictEqual(signal, null);
  strictEqual(code, 78);
});
