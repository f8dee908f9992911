/**
 * A store that another host wrote to, whose user has another number: a daemon that is not root
 * cannot make a file his.
 *
 * @module
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { fromFileUrl } from "./files.ts";

Deno.test("a file of another host's user is opened as the daemon's own where it may not give it away", async () => {
  const child = [
    ...[Deno.execPath(), "run", "-A", "--no-check", "--quiet"],
    fromFileUrl("give_away_child.ts", import.meta.url),
  ];
  const without = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"];
  const [program, ...args] = Deno.uid() === 0 ? [...without, ...child] : child;
  const { code, stdout, stderr } = await new Deno.Command(program!, { args }).output();
  strictEqual(code, 0, new TextDecoder().decode(stderr));
  const given = { isOwn: true, mode: "444", hasTime: true, rowUid: true, left: 0 };
  deepStrictEqual(JSON.parse(new TextDecoder().decode(stdout)), {
    small: given,
    large: given,
  });
});
