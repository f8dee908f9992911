import { deepStrictEqual } from "node:assert/strict";
import { type GraphModule, violationsIn } from "./check_layers.ts";

const ROOT = "file:///p/";

function imports(from: string, ...targets: string[]): GraphModule {
  return {
    specifier: ROOT + from,
    dependencies: targets.map((target) => ({
      specifier: target,
      code: { specifier: target.includes(":") ? target : ROOT + target },
    })),
  };
}

function violations(...modules: GraphModule[]): string[] {
  return violationsIn(modules, ROOT);
}

Deno.test("violationsIn() allows what points downwards", () => {
  deepStrictEqual(
    violations(
      imports("main.ts", "src/cli/run.ts"),
      imports("src/cli/run.ts", "src/daemon/daemon.ts", "src/core/clock.ts"),
      imports("src/engine/upload.ts", "src/storage/backend.ts", "src/manifest/row.ts"),
      imports(
        "src/storage/s3/x.ts",
        "src/storage/backend.ts",
        "build/node_modules/x/a.js",
        "node:path",
      ),
      imports("src/storage/nfs/x_test.ts", "tests/support/y.ts", "src/storage/a_test.ts"),
    ),
    [],
  );
});

Deno.test("violationsIn() names imports upwards, sideways, from outside and of tests", () => {
  deepStrictEqual(
    violations(
      imports("main.ts", "src/posix/files.ts"),
      imports("src/core/x.ts", "src/obs/logger.ts"),
      imports("src/storage/x.ts", "src/manifest/row.ts"),
      imports("src/storage/y_test.ts", "src/engine/z.ts"),
      imports("src/gate/x.ts", "src/gate/x_test.ts", "tests/support/y.ts"),
      imports("src/obs/x.ts", "https://example.org/x.ts"),
      imports("src/other/x.ts", "src/core/x.ts"),
    ),
    [
      "main.ts: main.ts may not import posix (src/posix/files.ts)",
      "src/core/x.ts: core may not import obs (src/obs/logger.ts)",
      "src/storage/x.ts: storage may not import manifest (src/manifest/row.ts)",
      "src/storage/y_test.ts: storage may not import engine (src/engine/z.ts)",
      "src/gate/x.ts: imports the test src/gate/x_test.ts",
      "src/gate/x.ts: imports tests/support/y.ts, which is no part of the program",
      "src/obs/x.ts: imports https://example.org/x.ts; npm and node: only",
      "src/other/x.ts: other/ is no layer",
    ],
  );
});

Deno.test("violationsIn() counts type-only imports and imports that cannot be resolved", () => {
  const module: GraphModule = {
    specifier: `${ROOT}src/wire/x.ts`,
    dependencies: [
      { specifier: "../gate/y.ts", type: { specifier: `${ROOT}src/gate/y.ts` } },
      { specifier: "nowhere", code: { error: "not found: nowhere" } },
    ],
  };
  deepStrictEqual(violations(module), [
    "src/wire/x.ts: wire may not import gate (src/gate/y.ts)",
    "src/wire/x.ts: not found: nowhere",
  ]);
});

Deno.test("violationsIn() finds vendor programs that main.ts reaches in several steps", () => {
  deepStrictEqual(
    violations(
      imports("main.ts", "src/cli/run.ts"),
      imports("src/cli/run.ts", "node_modules/x/index.js"),
      imports("node_modules/x/index.js", "src/vendor/sign.ts"),
    ),
    ["main.ts: reaches src/vendor/sign.ts"],
  );
});
