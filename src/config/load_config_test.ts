import { deepStrictEqual, match, strictEqual, throws } from "node:assert/strict";
import { loadConfig, warningsAbout } from "./load_config.ts";
import { ConfigError } from "./problem.ts";

function inDirectory(test: (directory: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    test(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function s3With(keys: Readonly<Record<string, unknown>>): string {
  const primary = { "type": "s3", "bucket": "b", "access_key": "k", ...keys };
  return JSON.stringify({ "depot_path": "/depot", primary });
}

/** The problems, without the line that names the file. */
function complaintsOf(path: string): string[] {
  try {
    loadConfig(path);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n  ").slice(1);
    throw error;
  }
  return [];
}

Deno.test("loadConfig() reads a file whose secrets stand elsewhere", () =>
  inDirectory((directory) => {
    Deno.writeTextFileSync(`${directory}/key`, "hidden\n");
    const path = `${directory}/config.json`;
    Deno.writeTextFileSync(
      path,
      s3With({ "secret_key": { "file": `${directory}/key` } }),
    );
    const { primary } = loadConfig(path);
    strictEqual("secretKey" in primary && primary.secretKey?.reveal(), "hidden");
  }));

Deno.test("loadConfig() refuses secrets that are not there, all of them", () =>
  inDirectory((directory) => {
    const path = `${directory}/config.json`;
    const env = "P4CACHE_TEST_IS_NEVER_SET";
    Deno.writeTextFileSync(
      path,
      s3With({ "secret_key": { "file": "/no/such/key" }, "session_token": { env } }),
    );
    const [key, token, ...more] = complaintsOf(path);
    match(
      key!,
      /^"primary\.secret_key" is not usable; .*"\/no\/such\/key".*No such file/,
    );
    match(
      token!,
      /^"primary\.session_token" is not usable; .*P4CACHE_TEST_IS_NEVER_SET.*not set/,
    );
    deepStrictEqual(more, []);
  }));

Deno.test("loadConfig() says where the file is no JSON, no UTF-8 or not there", () =>
  inDirectory((directory) => {
    const path = `${directory}/config.json`;
    deepStrictEqual(complaintsOf(path), ["there is no such file"]);
    Deno.writeTextFileSync(path, '{\n  "depot_path": /depot\n}');
    deepStrictEqual(complaintsOf(path), [
      'line 2, column 17: "/" stands where a value is wanted',
    ]);
    // A path in latin-1 would silently become another one.
    Deno.writeFileSync(path, Uint8Array.of(0x22, 0xe9, 0x22));
    deepStrictEqual(complaintsOf(path), ["it is not valid UTF-8"]);
    throws(() => loadConfig(directory), ConfigError);
  }));

Deno.test("warningsAbout() names files with secrets that every user may read", () =>
  inDirectory((directory) => {
    const [path, key] = [`${directory}/config.json`, `${directory}/key`];
    Deno.writeTextFileSync(key, "hidden");
    Deno.writeTextFileSync(path, s3With({ "secret_key": { "file": key } }));
    Deno.chmodSync(path, 0o644);
    Deno.chmodSync(key, 0o604);
    const named = (): boolean[] => {
      const warnings = warningsAbout(path, loadConfig(path)).join("\n");
      return [warnings.includes(`"${path}"`), warnings.includes(`"${key}"`)];
    };
    deepStrictEqual(named(), [true, true]); // The access key stands in the configuration itself.
    Deno.chmodSync(key, 0o640);
    deepStrictEqual(named(), [true, false]);
    Deno.chmodSync(path, 0o640);
    deepStrictEqual(named(), [false, false]);
  }));

Deno.test("warningsAbout() lets everybody read a configuration without secrets", () =>
  inDirectory((directory) => {
    const path = `${directory}/config.json`;
    const primary = { "type": "nfs", "path": "/store" };
    Deno.writeTextFileSync(path, JSON.stringify({ "depot_path": "/depot", primary }));
    Deno.chmodSync(path, 0o644);
    deepStrictEqual(warningsAbout(path, loadConfig(path)), []);
  }));
