import { Buffer } from "node:buffer";
import { match, ok, strictEqual } from "node:assert/strict";
import { bytesOfText, checkpointText, type Revision, revLine } from "../verify/world.ts";
import { EXECUTABLE, run, Site, until } from "./site.ts";

/** Odd names, one character per byte: a blank, a quote, a hash mark, and no UTF-8. */
const DIRECTORIES = ['it\'s "b" $HOME # \\x41,d', "\xe4\xff,d"];
const BAD = DIRECTORIES.map((name) => `depot/${name}/1.101`);
const LOST = ["depot/lost,d/1.101", "depot/lost it's \xe4,d/1.101"];

const text = (archive: string): string => `the bytes of ${archive}`;

/** Bytes that are no UTF-8 pass neither Deno's file calls nor its arguments. */
async function bash(script: string, ...words: string[]): Promise<string> {
  const quoted = words.map((word) =>
    `$'${
      Array.from(Buffer.from(word, "latin1"), (it) =>
        `\\x${it.toString(16).padStart(2, "0")}`).join("")
    }'`
  );
  const { stdout } = await run(["bash", "-ec", `set -- ${quoted.join(" ")}\n${script}`]);
  return stdout;
}

function revisionOf(archive: string): Revision {
  const lbrFile = `//${archive.slice(0, archive.lastIndexOf(",d/"))}`;
  return { depotFile: lbrFile, rev: 1, text: text(archive), type: 0x10001 };
}

async function verify(site: Site, checkpoint: string): Promise<string> {
  const { code, stdout } = await site.cli(
    "verify",
    "--checkpoint",
    checkpoint,
    "--config",
    `${site.directory}/config.json`,
    "--depth",
    "content",
    "--no-orphans",
    "--repair",
    "--quiet",
  );
  ok(code === 0 || code === 1, stdout);
  return stdout;
}

Deno.test("the commands of verify --repair bring back damaged files and lost objects, whatever their names", async () => {
  await using site = await Site.open();
  await site.start();
  const archives = [...BAD, ...LOST];
  for (const archive of archives) {
    await bash(
      'mkdir -p "$(dirname "$1")"; printf %s "$2" > "$3"; touch -d 2020-01-01 "$3"; ' +
        'mv "$3" "$1"',
      `${site.depot}/${archive}`,
      text(archive),
      `${site.depot}/tmp.1`,
    );
  }
  await site.uploaded(archives.length);
  const checkpoint = `${site.directory}/checkpoint`;
  const oldMs = Date.now() + 6_000;
  const lines = archives.map((it) => revLine(revisionOf(it)));
  await Deno.writeFile(checkpoint, bytesOfText(checkpointText({ lines })));
  match(await verify(site, checkpoint), /RESULT: all good/);
  await damage(site);
  const found = await verify(site, checkpoint);
  match(found, new RegExp(`RESULT: ${archives.length} findings`));
  await until("the youngest is old enough to be evicted", () => Date.now() >= oldMs);

  await Deno.mkdir(`${site.directory}/bin`);
  await Deno.symlink(EXECUTABLE, `${site.directory}/bin/p4-cache`);
  const plan = `${site.directory}/plan.sh`;
  await Deno.writeFile(plan, bytesOfText(found.slice(found.indexOf("# Proposed"))));
  const path = `${site.directory}/bin:${Deno.env.get("PATH")}`;
  const ran = await run(["bash", plan], { PATH: path }, true);
  match(await verify(site, checkpoint), /RESULT: all good/, ran.stdout + ran.stderr);
  for (const archive of archives) {
    strictEqual(await bash('cat "$1"', `${site.depot}/${archive}`), text(archive));
  }
  // The damaged bytes are kept, beside their directory.
  for (const archive of BAD) {
    const aside = `${site.depot}/${
      archive.replace(/\/(.*)\/(.*)$/, "/tmp.$1.$2.p4cache-bad")
    }`;
    strictEqual(await bash('cat "$1"', aside), `X${text(archive).slice(1)}`);
  }
});

/** As a disk that fails changes bytes: no mtime tells. And objects get lost. */
async function damage(site: Site): Promise<void> {
  await site.end("SIGTERM");
  for (const archive of BAD) {
    await bash(
      'touch -r "$1" "$2"; printf X | dd of="$1" conv=notrunc status=none; touch -r "$2" "$1"',
      `${site.depot}/${archive}`,
      `${site.directory}/time`,
    );
  }
  await site.start();
  await bash('find "$1" -type f -path "*lost*" -delete', site.store);
}
