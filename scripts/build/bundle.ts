// deno-lint-ignore-file no-console
/**
 * Bundles main.ts into build/bundle/main.js: one minified ESM file, with the native parts
 * beside it. No code of a store that `--features` leaves out gets in.
 *
 * Usage: deno run -A scripts/build/bundle.ts --features all --version 0.1.0 --commit abc
 *   --base official|fallback
 *
 * @module
 */

import { build, type Plugin } from "esbuild";
import { builtinModules } from "node:module";
import { parseArgs } from "node:util";
import { createHash } from "node:crypto";

const STORES = ["nfs", "s3", "azure", "gcs"] as const;

const { values } = parseArgs({
  options: {
    features: { type: "string", default: "all" },
    version: { type: "string", default: "0.0.0" },
    commit: { type: "string", default: "unknown" },
    base: { type: "string", default: "fallback" },
    out: { type: "string", default: "build" },
  },
});

const wanted = values.features === "all" ? [...STORES] : values.features.split(",");
for (const feature of wanted) {
  if (!(STORES as readonly string[]).includes(feature)) {
    console.error(`bundle: FEATURES=${feature}: wanted all, or some of ${STORES}`);
    Deno.exit(2);
  }
}

/**
 * The two native addons, loaded from the file that src/posix/native_files.ts finds and not
 * from node_modules, which an installed p4-cache does not have.
 */
const ADDONS: Readonly<Record<string, string>> = {
  "lmdb.node": "@lmdb/lmdb-linux-x64/node.napi.glibc.node",
  "blake.node": "@napi-rs/blake-hash-linux-x64-gnu/blake.linux-x64-gnu.node",
};

function addonModule(name: string, exported: string): string {
  return `
    import { createRequire } from "node:module";
    import { nativeFile } from ${
    JSON.stringify(Deno.realPathSync("src/posix/native_files.ts"))
  };
    const load = () => {
      const addon = nativeFile(${JSON.stringify(name)});
      try {
        return createRequire(import.meta.url)(addon);
      } catch (error) {
        if (!String(error).includes("libstdc++")) throw error;
        // A host without a C++ library: ours, found by its soname once it is loaded.
        Deno.dlopen(nativeFile("libstdc++.so.6"), {});
        return createRequire(import.meta.url)(addon);
      }
    };
    ${exported}`;
}

const nativeAddons: Plugin = {
  name: "native-addons",
  setup(build): void {
    build.onResolve({ filter: /^node-gyp-build-optional-packages$/ }, (args) => ({
      // msgpackr's optional accelerator does without; only lmdb has its own file.
      path: args.importer.includes("/lmdb/") ? "lmdb" : "none",
      namespace: "addon",
    }));
    build.onResolve({ filter: /^@napi-rs\/blake-hash$/ }, () => ({
      path: "blake",
      namespace: "addon",
    }));
    build.onLoad({ filter: /.*/, namespace: "addon" }, (args) => ({
      resolveDir: Deno.cwd(),
      contents: args.path === "lmdb"
        ? addonModule("lmdb.node", "export default () => load();")
        : args.path === "blake"
        ? addonModule("blake.node", "export const { Blake3Hasher, blake3 } = load();")
        : `export default () => { throw new Error("no native part"); };`,
    }));
  },
};

/** Deno wants `node:` before the name of a built-in module; many packages leave it out. */
const nodeBuiltins: Plugin = {
  name: "node-builtins",
  setup(build): void {
    const names = new Set(builtinModules);
    build.onResolve(
      { filter: /^[a-z_/0-9]+$/ },
      (args) =>
        names.has(args.path) ? { path: `node:${args.path}`, external: true } : null,
    );
  },
};

/** The C++ library that lmdb's addon is linked to: of the compiler's machine. */
async function cppLibrary(): Promise<string> {
  const { stdout } = await new Deno.Command("gcc", {
    args: ["-print-file-name=libstdc++.so.6"],
  }).output();
  return new TextDecoder().decode(stdout).trim();
}

const outDirectory = `${values.out}/bundle`;
await Deno.remove(outDirectory, { recursive: true }).catch(() => {});
await Deno.mkdir(outDirectory, { recursive: true });
const result = await build({
  entryPoints: ["main.ts"],
  outfile: `${outDirectory}/main.js`,
  bundle: true,
  minify: true,
  keepNames: true,
  format: "esm",
  platform: "node",
  target: "esnext",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
  banner: {
    js: 'import{createRequire as __p4cr}from"node:module";' +
      "const require=__p4cr(import.meta.url);" +
      'const __dirname=import.meta.dirname??"/";const __filename=import.meta.filename??"/";',
  },
  define: {
    P4CACHE_BUILD: JSON.stringify({
      version: values.version,
      commit: values.commit,
      base: values.base,
      features: wanted,
    }),
    ...Object.fromEntries(
      STORES.map((s) => [`P4CACHE_WITH_${s.toUpperCase()}`, String(wanted.includes(s))]),
    ),
  },
  plugins: [nativeAddons, nodeBuiltins],
});

const addonFiles = Object.entries(ADDONS).map((
  [name, path],
) => [name, `node_modules/${path}`]);
const helperFiles = [
  "libp4shim.so",
  "libp4posix.so",
  "p4-cache-gate",
  "p4-cache-fanotify",
]
  .map((name) => [name, `${values.out}/${name}`]);
const runtimeFiles = [["libstdc++.so.6", await cppLibrary()]];
const sums: Record<string, string> = {};
for (
  const [name, path] of [...addonFiles, ...helperFiles, ...runtimeFiles] as [
    string,
    string,
  ][]
) {
  const bytes = await Deno.readFile(path);
  sums[name] = createHash("sha256").update(bytes).digest("hex");
  await Deno.writeFile(`${outDirectory}/${name}`, bytes, { mode: 0o755 });
}
await Deno.writeTextFile(`${outDirectory}/natives.json`, JSON.stringify(sums) + "\n");
const inputs = Object.keys(result.metafile.inputs).length;
const { size } = await Deno.stat(`${outDirectory}/main.js`);
console.log(
  `bundle: ${inputs} modules, ${(size / 1e6).toFixed(2)} MB, stores: ${wanted.join(" ")}`,
);
Deno.exit(0);
