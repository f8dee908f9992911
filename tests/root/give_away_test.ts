/**
 * A store that another host wrote to, whose user has another number: a daemon that is not root
 * cannot make a file his.
 *
 * @module
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { fromFileUrl } from "./files.ts";

const WITHOUT_RIGHT = ["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"];
/** Of all users it knows one. */
const IN_NAMESPACE = ["unshare", "--map-root-user"];

const CASES = [
  { called: "where it may not give it away", by: Deno.uid() === 0 ? WITHOUT_RIGHT : [] },
  { called: "in a user namespace that does not have him", by: IN_NAMESPACE },
];

for (const { called, by } of CASES) {
  Deno.test(`a file of another host's user is opened as the daemon's own ${called}`, async () => {
    const child = [
      ...[Deno.execPath(), "run", "-A", "--no-check", "--quiet"],
      fromFileUrl("give_away_child.ts", import.meta.url),
    ];
    const [program, ...args] = [...by, ...child];
    const { code, stdout, stderr } = await new Deno.Command(program!, { args }).output();
    strictEqual(code, 0, new TextDecoder().decode(stderr));
    const given = { isOwn: true, mode: "444", hasTime: true, rowUid: true, left: 0 };
    deepStrictEqual(JSON.parse(new TextDecoder().decode(stdout)), {
      small: given,
      large: given,
    });
  });
}
