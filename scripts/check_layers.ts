// deno-lint-ignore-file no-console
/**
 * Fails if a file imports from a layer that its own layer may not use.
 *
 * Type-only and dynamic imports count: a layer that needs another layer's types cannot be
 * understood or tested without it. Every file below src/ is looked at, also those that
 * nothing reaches yet.
 *
 * Usage: deno run --allow-read --allow-run scripts/check_layers.ts
 *
 * @module
 */

const BELOW_DAEMON = [
  "core",
  "posix",
  "obs",
  "config",
  "wire",
  "license",
  "perforce",
  "storage",
  "manifest",
  "watch",
  "gate",
  "access",
  "engine",
  "verify",
] as const;

/** Layer -> layers that it may import besides itself, lowest first. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  posix: ["core"],
  obs: ["core"],
  config: ["core"],
  wire: ["core"],
  license: ["core"],
  perforce: ["core"],
  storage: ["core", "posix", "obs"],
  manifest: ["core", "posix", "obs"],
  watch: ["core", "posix", "obs", "wire"],
  gate: ["core", "posix", "obs", "wire"],
  access: ["core", "posix", "obs", "wire"],
  engine: ["core", "posix", "obs", "manifest", "storage"],
  verify: ["core", "posix", "obs", "perforce", "manifest", "storage"],
  daemon: BELOW_DAEMON,
  cli: [...BELOW_DAEMON, "daemon"],
  vendor: ["core", "license"],
  "main.ts": ["cli"],
};

/** A module of `deno info --json`, as far as it is needed. */
export interface GraphModule {
  readonly specifier: string;
  readonly error?: string;
  readonly dependencies?: readonly GraphEdge[];
}

interface GraphEdge {
  readonly specifier: string;
  readonly code?: { readonly specifier?: string; readonly error?: string };
  readonly type?: { readonly specifier?: string; readonly error?: string };
}

/** One line for each import that is not allowed. Pure. */
export function violationsIn(modules: readonly GraphModule[], rootUrl: string): string[] {
  const violations: string[] = [];
  for (const module of modules) {
    const from = pathBelow(rootUrl, module.specifier);
    if (from === null || layerOf(from) === null) continue;
    if (module.error !== undefined) violations.push(`${from}: ${module.error}`);
    for (const edge of module.dependencies ?? []) {
      const why = violationOf(from, edge, rootUrl);
      if (why !== null) violations.push(`${from}: ${why}`);
    }
  }
  return [...violations, ...vendorReached(modules, rootUrl)];
}

function violationOf(from: string, edge: GraphEdge, rootUrl: string): string | null {
  const error = edge.code?.error ?? edge.type?.error;
  if (error !== undefined) return error;
  const target = targetOf(edge);
  if (target === undefined) return null;
  if (/^(?:https?|jsr):/.test(target)) return `imports ${target}; npm and node: only`;
  const to = pathBelow(rootUrl, target);
  if (to === null || /(?:^|\/)node_modules\//.test(to)) return null;
  if (isTest(from) && (to.startsWith("tests/") || layerOf(from) === layerOf(to))) {
    return null;
  }
  if (isTest(to)) return `imports the test ${to}`;
  const [layer, other] = [layerOf(from)!, layerOf(to)];
  if (other === null) return `imports ${to}, which is no part of the program`;
  if (layer === other || MAY_IMPORT[layer]?.includes(other)) return null;
  if (MAY_IMPORT[layer] === undefined) return `${layer}/ is no layer`;
  return `${layer} may not import ${other} (${to})`;
}

/** Vendor programs hold signing code, which must not get into what is shipped. */
function vendorReached(modules: readonly GraphModule[], rootUrl: string): string[] {
  const bySpecifier = new Map(modules.map((module) => [module.specifier, module]));
  const reached = new Set<string>();
  const waiting = [`${rootUrl}main.ts`];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (reached.has(next)) continue;
    reached.add(next);
    for (const edge of bySpecifier.get(next)?.dependencies ?? []) {
      const target = targetOf(edge);
      if (target !== undefined) waiting.push(target);
    }
  }
  return [...reached]
    .map((specifier) => pathBelow(rootUrl, specifier))
    .filter((path) => path?.startsWith("src/vendor/"))
    .map((path) => `main.ts: reaches ${path}`);
}

function targetOf(edge: GraphEdge): string | undefined {
  return edge.code?.specifier ?? edge.type?.specifier;
}

function pathBelow(rootUrl: string, specifier: string): string | null {
  return specifier.startsWith(rootUrl) ? specifier.slice(rootUrl.length) : null;
}

/** `main.ts`, or the folder of src/; null for anything else. */
function layerOf(path: string): string | null {
  if (path === "main.ts") return path;
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? null;
}

function isTest(path: string): boolean {
  return path.endsWith("_test.ts");
}

function* sourceFiles(directory: URL): Generator<URL> {
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    if (isDirectory) yield* sourceFiles(new URL(`${name}/`, directory));
    else if (name.endsWith(".ts")) yield new URL(name, directory);
  }
}

/** One graph over all files: asking for each by itself takes a process each. */
async function readGraph(root: URL, files: readonly URL[]): Promise<GraphModule[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "info",
      "--json",
      "--config",
      new URL("deno.json", root).pathname,
      "/dev/stdin",
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const imports = files.map((file) => `import ${JSON.stringify(file.href)};\n`);
  const [output] = await Promise.all([
    child.output(),
    new Blob(imports).stream().pipeTo(child.stdin),
  ]);
  if (!output.success) throw new Error(new TextDecoder().decode(output.stderr));
  return JSON.parse(new TextDecoder().decode(output.stdout)).modules;
}

if (import.meta.main) {
  const root = new URL("../", import.meta.url);
  const files = [new URL("main.ts", root), ...sourceFiles(new URL("src/", root))];
  const modules = await readGraph(root, files);
  const known = new Set(modules.map((module) => module.specifier));
  const missing = files.filter((file) => !known.has(file.href));
  const violations = [
    ...violationsIn(modules, root.href),
    ...missing.map((file) => `${file.href}: is not in the graph`),
  ];
  for (const violation of violations) console.error(violation);
  console.log(`layers: ${files.length} files, ${violations.length} violations`);
  Deno.exit(violations.length === 0 ? 0 : 1);
}
