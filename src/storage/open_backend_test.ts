import { ok, rejects, strictEqual } from "node:assert/strict";
import { build } from "esbuild";
import { testTools } from "../../tests/conformance/cloud_fixture.ts";
import { openBackend } from "./open_backend.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const STORES = ["nfs", "s3", "azure", "gcs"];

/** What only that vendor's code says. */
const MARKS: Readonly<Record<string, RegExp>> = {
  s3: /aws-sdk/,
  azure: /core\.windows\.net|azsdk/,
  gcs: /googleapis/,
};

/** What the bundler makes of this folder with these stores in it. */
async function bundleOf(stores: readonly string[]): Promise<string> {
  const result = await build({
    stdin: {
      contents: 'export { openBackend } from "./src/storage/open_backend.ts";',
      resolveDir: ROOT,
      loader: "ts",
    },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "esnext",
    external: ["@napi-rs/blake-hash"],
    define: Object.fromEntries(
      STORES.map((s) => [`P4CACHE_WITH_${s.toUpperCase()}`, String(stores.includes(s))]),
    ),
  });
  return result.outputFiles![0]!.text;
}

Deno.test({
  name: "a build holds the code of its own stores, and of no other",
  // The bundler is a process of its own that outlives the test.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(): Promise<void> {
    for (const store of STORES) {
      const text = await bundleOf([store]);
      for (const [other, mark] of Object.entries(MARKS)) {
        strictEqual(mark.test(text), other === store, `${other} in a ${store} build`);
      }
    }
  },
});

Deno.test({
  name: "a store that is not built in is refused by name",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(): Promise<void> {
    const file = await Deno.makeTempFile({ suffix: ".mjs" });
    // Without the native hash, which is not asked for here.
    const text = (await bundleOf(["nfs"])).replace(
      /import\{[^}]*\}from"@napi-rs\/blake-hash";/,
      "const Blake3Hasher=null;",
    );
    await Deno.writeTextFile(file, text);
    const { openBackend: openBuilt } = await import(`file://${file}`);
    const options = { type: "s3", bucket: "b" };
    await rejects(
      () => openBuilt(options, testTools()),
      /no s3 store, only nfs; install the p4-cache package for s3/,
    );
    await Deno.remove(file);
  },
});

Deno.test("every store is opened without a request, and closed", async () => {
  const directory = await Deno.makeTempDir();
  const endpoint = { endpoint: "http://127.0.0.1:1", endpointPin: true };
  const nfs = { type: "nfs" as const, path: directory, initialize: true };
  const keys = { accessKey: "a", secretKey: "s" };
  const s3 = { type: "s3" as const, bucket: "b", ...keys, ...endpoint };
  const account = { accountName: "a", accountKey: "aw==", ...endpoint };
  const azure = { type: "azure" as const, container: "c", ...account };
  const gcs = { type: "gcs" as const, bucket: "b", ...endpoint };
  for (const options of [nfs, s3, azure, gcs]) {
    const backend = await openBackend(options, testTools());
    strictEqual(backend.name, options.type);
    ok(backend.capabilities().conditionalWrites);
    await backend.close();
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("settings that do not fit together are refused before any request", async () => {
  const bad = [
    { type: "s3" as const, bucket: "" },
    { type: "s3" as const, bucket: "b", accessKey: "a" },
    { type: "s3" as const, bucket: "b", kmsKeyId: "k" },
    { type: "s3" as const, bucket: "b", verifySsl: false },
    { type: "azure" as const, container: "", accountName: "a" },
    {
      ...{ type: "azure" as const, container: "c", accountName: "a" },
      ...{ accountKey: "aw==", sasToken: "se=1" },
    },
    { type: "gcs" as const, bucket: "b", endpoint: "https://x" },
    { type: "gcs" as const, bucket: "b", caCertPath: "/there/is/none" },
  ];
  for (const options of bad) {
    await rejects(() => openBackend(options, testTools()), JSON.stringify(options));
  }
});
