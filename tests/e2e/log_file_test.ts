import { match, ok } from "node:assert/strict";
import { Site, until } from "./site.ts";

Deno.test("SIGHUP opens the log anew after somebody has moved it away, with nothing else changed", async () => {
  await using site = await Site.open();
  await site.start();
  const file = `${site.directory}/daemon.log`;
  await Deno.rename(file, `${file}.1`);
  site.signal("SIGHUP");
  const isThere = (): boolean => {
    try {
      return Deno.statSync(file).isFile;
    } catch {
      return false;
    }
  };
  await until("the log is there again", isThere);
  await site.end("SIGTERM");
  match(site.log, /stopp/);
  ok(!/stopp/.test(await Deno.readTextFile(`${file}.1`)));
});
