import { deepStrictEqual, doesNotMatch, strictEqual, throws } from "node:assert/strict";
import { inspect } from "node:util";
import { revealSecrets, Secret, SecretError, type SecretLookup } from "./secret.ts";

const LOOKUP: SecretLookup = {
  file: (path) => {
    if (path === "/missing") throw new Deno.errors.NotFound("no such file");
    return path === "/empty" ? "\n" : "from file\r\n";
  },
  env: (name) => name === "SET" ? "from env" : undefined,
};

Deno.test("Secret prints as *** whatever it is put into", () => {
  const secret = new Secret({ text: "hunter2" }, LOOKUP);
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret, list: [secret] }),
    Deno.inspect({ secret }),
    Deno.inspect(secret, { showHidden: true, depth: 9 }),
    inspect({ secret }, { showHidden: true, depth: 9 }),
    Object.values(secret).join(),
    JSON.stringify(Object.entries(secret)),
  ];
  for (const text of shown) doesNotMatch(text, /hunter2/);
  strictEqual(JSON.stringify({ secret }), '{"secret":"***"}');
  strictEqual(Deno.inspect({ secret }), "{ secret: *** }");
});

Deno.test("reveal() gives the value from where it stands, without the last line feed", () => {
  strictEqual(new Secret({ text: "plain" }, LOOKUP).reveal(), "plain");
  strictEqual(new Secret({ file: "/key" }, LOOKUP).reveal(), "from file");
  strictEqual(new Secret({ env: "SET" }, LOOKUP).reveal(), "from env");
});

Deno.test("reveal() reads a file each time, so that a key can be replaced", () => {
  let content = "one";
  const secret = new Secret({ file: "/key" }, { ...LOOKUP, file: () => content });
  strictEqual(secret.reveal(), "one");
  content = "two\n";
  strictEqual(secret.reveal(), "two");
});

Deno.test("reveal() says what is missing, and where", () => {
  const complaints = [
    [{ file: "/missing" }, 'Cannot read the secret of the file "/missing": no such file'],
    [{ file: "/empty" }, 'Cannot use the secret of the file "/empty": it is empty'],
    [
      { env: "UNSET" },
      "Cannot read the secret of the environment variable UNSET: it is not set",
    ],
  ] as const;
  for (const [origin, message] of complaints) {
    throws(() => new Secret(origin, LOOKUP).reveal(), new SecretError(message));
  }
});

Deno.test("isSame() compares texts by value and others by place", () => {
  const same = (a: Secret, b: Secret): boolean => a.isSame(b);
  const text = (value: string): Secret => new Secret({ text: value }, LOOKUP);
  strictEqual(same(text("a"), text("a")), true);
  strictEqual(same(text("a"), text("b")), false);
  strictEqual(
    same(new Secret({ file: "a" }, LOOKUP), new Secret({ env: "a" }, LOOKUP)),
    false,
  );
});

Deno.test("revealSecrets() leaves everything else as it is", () => {
  const store = { type: "s3", key: new Secret({ text: "k" }, LOOKUP), other: null, n: 1 };
  deepStrictEqual(revealSecrets(store), { type: "s3", key: "k", other: null, n: 1 });
});
