import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  metadataOf,
  patternBytes,
  sourceOf,
} from "../../tests/conformance/test_bytes.ts";
import {
  type EngineFixture,
  openEngineFixture,
  SIZES,
} from "../../tests/support/engine_fixture.ts";
import { withRanges } from "../../tests/support/ranged_backend.ts";
import { type ObjectKey, objectKeyOf } from "../core/names.ts";
import type { StoredVersion } from "../manifest/manifest.ts";
import type { DownloadResult, StorageBackend } from "../storage/backend.ts";
import { openMemBackend } from "../storage/mem/mem_backend.ts";
import { StorageError } from "../storage/storage_error.ts";
import { deleteFile } from "./delete.ts";
import { evict } from "./evict.ts";
import { observe, REPORTED } from "./observe.ts";
import { scanDepot } from "./scan.ts";
import { upload } from "./upload.ts";

/** Its methods are its class's: a spread alone does not take them. */
function forwardedTo(inner: StorageBackend): StorageBackend {
  return {
    name: inner.name,
    capabilities: () => inner.capabilities(),
    upload: (request) => inner.upload(request),
    download: (request) => inner.download(request),
    head: (key, signal) => inner.head(key, signal),
    delete: (request) => inner.delete(request),
    list: (prefix, signal) => inner.list(prefix, signal),
    retrieve: (request) => inner.retrieve(request),
    close: () => inner.close(),
  };
}

async function evicted(
  fixture: EngineFixture,
  name: string,
  content: string,
): Promise<StoredVersion> {
  await fixture.write(name, content);
  const path = fixture.path(name);
  await observe(fixture.context, path, REPORTED);
  strictEqual(await upload(fixture.context, path), "uploaded");
  strictEqual(await evict(fixture.context, path), "evicted");
  return fixture.manifest.get(path)!.stored!;
}

async function put(
  store: StorageBackend,
  key: ObjectKey,
  content: string,
  hashOf = content,
): Promise<void> {
  const bytes = new TextEncoder().encode(content);
  const { hash } = metadataOf(new TextEncoder().encode(hashOf));
  // As somebody else would write it: the hash in its metadata may be another content's.
  const metadata = { ...metadataOf(bytes), hash: hashOf === content ? hash : null };
  await store.upload({ key, source: sourceOf(bytes), metadata, ifAbsent: false });
}

for (const damage of ["gone", "other bytes"] as const) {
  Deno.test(`a file that comes from the secondary (the primary's object: ${damage}) is evicted only after its upload`, async () => {
    const secondary = openMemBackend();
    await using fixture = await openEngineFixture({ secondary });
    const { context, manifest, primary } = fixture;
    const path = fixture.path("a,v");
    const { key } = await evicted(fixture, "a,v", "content");
    await put(secondary, key, "content");
    await primary.delete({ key });
    if (damage === "other bytes") await put(primary, key, "damaged");

    await fixture.restorer.restore(path);
    strictEqual(await fixture.read("a,v"), "content");
    const restored = manifest.get(path)!;
    deepStrictEqual([restored.state, restored.flags.secondaryOnly], ["dirty", true]);
    strictEqual(await evict(context, path), "not-evictable");

    strictEqual(await upload(context, path), "uploaded");
    const copied = manifest.get(path)!;
    deepStrictEqual([copied.state, copied.flags.secondaryOnly], ["clean", false]);
    await secondary.delete({ key });
    strictEqual(await evict(context, path), "evicted");
    await fixture.restorer.restore(path);
    strictEqual(await fixture.read("a,v"), "content");
    const metrics = await context.metrics.render();
    ok(metrics.includes('p4cache_secondary_restores_total{result="success"} 1'));
    ok(metrics.includes("p4cache_secondary_copies_total 1"));
  });
}

for (const fault of ["invalid", "denied", "archived", "unavailable"] as const) {
  Deno.test(`a version id that the primary answers with ${fault} keeps nobody from the secondary unless it may be answered later`, async () => {
    const inner = openMemBackend();
    const refused: (string | null)[] = [];
    const primary: StorageBackend = {
      ...forwardedTo(inner),
      capabilities: () => ({ ...inner.capabilities(), versions: true }),
      download(request): Promise<DownloadResult> {
        const { key, versionId = null } = request;
        if (versionId === null) return inner.download(request);
        refused.push(versionId);
        const error = { operation: "download", key, detail: "a test" } as const;
        return Promise.reject(new StorageError(fault, error));
      },
    };
    const secondary = openMemBackend();
    await using fixture = await openEngineFixture({ primary, secondary });
    const { manifest } = fixture;
    const path = fixture.path("a,v");
    const { key, ...stored } = await evicted(fixture, "a,v", "content");
    await manifest.apply(path, "any", {
      kind: "adopted",
      stored: { ...stored, key, versionId: "another store's" },
      stat: manifest.get(path)!.local,
      resident: false,
      flags: {},
      nowS: 1,
    });
    await inner.delete({ key });
    await put(secondary, key, "content");
    const restored = fixture.restorer.restore(path);
    if (fault === "unavailable") await rejects(restored, { fault: "UNAVAILABLE" });
    else {
      await restored;
      strictEqual(await fixture.read("a,v"), "content");
    }
    deepStrictEqual(refused, ["another store's"]);
  });
}

for (
  const [later, first] of [
    ["primary", "nowhere"],
    ["primary", "primary"],
    ["primary", "secondary"],
    ["secondary", "nowhere"],
    ["secondary", "secondary"],
  ] as const
) {
  Deno.test(`a file that no row knows is not taken from the store if that has a later version of it: ${later}; the first: ${first}`, async () => {
    const stores = { primary: openMemBackend(), secondary: openMemBackend() };
    await using fixture = await openEngineFixture({
      ...stores,
      settings: { storeLookupOnMiss: true },
    });
    const path = fixture.path("a,v");
    const key = objectKeyOf("a,v");
    await put(
      stores[later],
      objectKeyOf(`${key}.p4cv-0123456789abcdef`),
      "1.1, 1.2, 1.3",
    );
    if (first !== "nowhere") await put(stores[first], key, "1.1");
    await rejects(fixture.restorer.restore(path), {
      fault: "CORRUPT",
      message: new RegExp(`the ${later} store has later versions.*rebuild-manifest`),
    });
    strictEqual(fixture.manifest.get(path), null);
    strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`), null);
  });
}

for (const from of ["primary", "secondary"] as const) {
  Deno.test(`an earlier version in the ${from} does not take the place of a marker that no row knows`, async () => {
    const stores = { primary: openMemBackend(), secondary: openMemBackend() };
    await using fixture = await openEngineFixture({
      ...stores,
      settings: { storeLookupOnMiss: true },
    });
    await evicted(fixture, "a,v", "1.1, 1.2, 1.3");
    // A marker of a later version than the store has of that name.
    await Deno.rename(`${fixture.root}/a,v`, `${fixture.root}/b,v`);
    const path = fixture.path("b,v");
    const bytes = new TextEncoder().encode("1.1");
    await stores[from].upload({
      key: objectKeyOf("b,v"),
      source: sourceOf(bytes),
      metadata: { ...metadataOf(bytes), mtimeNs: 1_000n },
    });
    await rejects(fixture.restorer.restore(path), {
      fault: "CORRUPT",
      message: new RegExp(`a later version than the ${from} store has.*rebuild-manifest`),
    });
    strictEqual(fixture.manifest.get(path), null);
    strictEqual(fixture.posix.lstat(`${fixture.root}/b,v`)!.kind, "socket");
  });
}

Deno.test("a lookup of an absent name is two requests per store, each time, and none of a deleted one", async () => {
  const requests: string[] = [];
  const counted = (name: string): StorageBackend => {
    const inner = openMemBackend();
    return {
      ...forwardedTo(inner),
      head(key, signal): ReturnType<StorageBackend["head"]> {
        requests.push(`${name} HEAD ${key}`);
        return inner.head(key, signal);
      },
      list(prefix, signal): ReturnType<StorageBackend["list"]> {
        requests.push(`${name} LIST ${prefix}`);
        return inner.list(prefix, signal);
      },
    };
  };
  await using fixture = await openEngineFixture({
    primary: counted("primary"),
    secondary: counted("secondary"),
    settings: { storeLookupOnMiss: true },
  });
  const path = fixture.path("a,v");
  for (let probe = 0; probe < 2; probe++) {
    await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
    deepStrictEqual(requests.splice(0), [
      "primary HEAD a,v",
      "primary LIST a,v.p4cv-",
      "secondary HEAD a,v",
      "secondary LIST a,v.p4cv-",
    ]);
  }
  // Somebody stages it: the absence of before does not hide it.
  await put(fixture.primary, objectKeyOf("a,v"), "content");
  await fixture.restorer.restore(path);
  await Deno.remove(`${fixture.root}/a,v`);
  strictEqual(await deleteFile(fixture.context, path), "deleted");
  requests.length = 0;
  await rejects(fixture.restorer.restore(path), { fault: "NOTFOUND" });
  deepStrictEqual(requests, []);
});

for (const readOnly of [false, true]) {
  Deno.test(`a lookup of an absent name asks the primary ${readOnly ? "of another daemon for its first version, then for later ones" : "for both at once"}`, async () => {
    const inner = openMemBackend();
    const headMayEnd = Promise.withResolvers<void>();
    const steps: string[] = [];
    const primary: StorageBackend = {
      ...forwardedTo(inner),
      async head(key, signal): ReturnType<StorageBackend["head"]> {
        // Waits for the LIST, or for the turn in which it would have begun.
        if (readOnly) setTimeout(headMayEnd.resolve, 0);
        await headMayEnd.promise;
        steps.push("HEAD ended");
        return await inner.head(key, signal);
      },
      list(prefix, signal): ReturnType<StorageBackend["list"]> {
        steps.push("LIST began");
        headMayEnd.resolve();
        return inner.list(prefix, signal);
      },
    };
    const settings = { storeLookupOnMiss: true, readOnly };
    await using fixture = await openEngineFixture({ primary, settings });
    await rejects(fixture.restorer.restore(fixture.path("a,v")), { fault: "NOTFOUND" });
    const atOnce = ["LIST began", "HEAD ended"];
    deepStrictEqual(steps, readOnly ? atOnce.toReversed() : atOnce);
  });
}

Deno.test("a restore from the secondary that a crash cut from the manifest is found dirty by the scan", async () => {
  const secondary = openMemBackend();
  await using fixture = await openEngineFixture({
    secondary,
    settings: { storeLookupOnMiss: true },
  });
  const path = fixture.path("a,v");
  await put(secondary, objectKeyOf("a,v"), "content");
  const { apply } = fixture.manifest;
  fixture.manifest.apply = (name, expected, event) =>
    event.kind === "restored"
      ? Promise.reject(new Error("killed"))
      : apply.call(fixture.manifest, name, expected, event);
  await rejects(fixture.restorer.restore(path));
  fixture.manifest.apply = apply;
  strictEqual(await fixture.read("a,v"), "content");
  await scanDepot(fixture.context, { source: "scan", trusts: "newer" });
  strictEqual(fixture.manifest.get(path)?.state, "dirty");
});

Deno.test("a restore whose object is damaged takes another object of the same hash, and it is uploaded again", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest, primary } = fixture;
  const path = fixture.path("a,v");
  const stored = await evicted(fixture, "a,v", "content");
  const older = objectKeyOf(`a,v.p4cv-${stored.hash!.slice(0, 16)}`);
  await put(primary, older, "content");
  await put(primary, stored.key, "damaged");
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("a,v"), "content");
  strictEqual(manifest.get(path)?.state, "dirty");
  strictEqual(await upload(context, path), "uploaded");
  // Under a key of its own: the damaged object looks newer than the one that was found.
  const again = manifest.get(path)!.stored!;
  strictEqual(again.hash, stored.hash);
  strictEqual([stored.key, older].includes(again.key), false);
  strictEqual(await evict(context, path), "evicted");
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("a,v"), "content");
});

for (const [size, sizeBytes] of Object.entries(SIZES)) {
  for (const damagedReads of [1, 2]) {
    Deno.test(`a ${size} object whose bytes come damaged ${damagedReads === 1 ? "once" : "each time"} is read twice before other copies are asked`, async () => {
      const inner = openMemBackend();
      const asked: string[] = [];
      let isDamaging = false;
      const primary: StorageBackend = {
        ...forwardedTo(inner),
        async download(request): Promise<DownloadResult> {
          asked.push("primary");
          if (!isDamaging || asked.length > damagedReads) return inner.download(request);
          return await inner.download({ ...request, key: objectKeyOf("other") });
        },
      };
      const secondary = openMemBackend();
      const download = secondary.download.bind(secondary);
      secondary.download = (request): Promise<DownloadResult> => {
        asked.push("secondary");
        return download(request);
      };
      await using fixture = await openEngineFixture({ primary, secondary });
      const path = fixture.path("a,v");
      const content = "a".repeat(sizeBytes);
      const { key } = await evicted(fixture, "a,v", content);
      await put(inner, objectKeyOf("other"), "b".repeat(sizeBytes));
      await put(secondary, key, content);
      asked.length = 0;
      isDamaging = true;
      await fixture.restorer.restore(path);
      strictEqual(await fixture.read("a,v"), content);
      deepStrictEqual(
        asked,
        ["primary", "primary", "secondary"].slice(0, damagedReads + 1),
      );
      // What came from elsewhere is to be uploaded again.
      const { state } = fixture.manifest.get(path)!;
      strictEqual(state, damagedReads === 1 ? "clean" : "dirty");
    });
  }
}

Deno.test("a restore fails with the primary's fault when every copy is damaged, and leaves the marker", async () => {
  const secondary = openMemBackend();
  await using fixture = await openEngineFixture({ secondary });
  const { key } = await evicted(fixture, "a,v", "content");
  await put(fixture.primary, key, "damaged");
  await put(secondary, key, "DAMAGED");
  await rejects(fixture.restorer.restore(fixture.path("a,v")), { fault: "CORRUPT" });
  strictEqual(fixture.posix.lstat(`${fixture.root}/a,v`)?.kind, "socket");
});

for (const enforceContentHash of [true, false]) {
  Deno.test(`an object whose hash nobody recorded is ${enforceContentHash ? "refused" : "taken, and its hash kept"} with enforce_content_hash=${enforceContentHash}`, async () => {
    await using fixture = await openEngineFixture({
      settings: { enforceContentHash, storeLookupOnMiss: true },
    });
    const path = fixture.path("a,v");
    await put(fixture.primary, objectKeyOf("a,v"), "content", "none");
    const restored = fixture.restorer.restore(path);
    if (enforceContentHash) return void await rejects(restored, { fault: "CORRUPT" });
    await restored;
    const { hash } = metadataOf(new TextEncoder().encode("content"));
    strictEqual(fixture.manifest.get(path)?.stored?.hash, hash);
    // Only with a hash it may be evicted, after the object was read.
    strictEqual(await evict(fixture.context, path), "evicted");
  });
}

Deno.test("a resident row without its file is restored, and an evicted one with its file is taken over", async () => {
  await using fixture = await openEngineFixture();
  const { context, manifest } = fixture;
  const path = fixture.path("a,v");
  await evicted(fixture, "a,v", "content");
  await fixture.restorer.restore(path);
  await Deno.remove(`${fixture.root}/a,v`);
  await fixture.restorer.restore(path);
  strictEqual(await fixture.read("a,v"), "content");
  strictEqual(manifest.get(path)?.resident, true);

  strictEqual(await evict(context, path), "evicted");
  await fixture.write("a,v", "content");
  const { wasEvicted } = await fixture.restorer.restore(path);
  strictEqual(wasEvicted, false);
  deepStrictEqual(
    [manifest.get(path)?.resident, manifest.get(path)?.state],
    [true, "clean"],
  );
});

for (const evictVerify of ["head", "full"] as const) {
  Deno.test(`evict_verify=${evictVerify} of an object that is fetched in ranges, whole and damaged`, async () => {
    const inner = openMemBackend();
    const { store, ranges } = withRanges(inner);
    await using fixture = await openEngineFixture({
      primary: store,
      settings: { evictVerify },
    });
    const { context, manifest } = fixture;
    const path = fixture.path("a,v");
    const bytes = patternBytes(1_000_000, 1);
    await Deno.writeFile(`${fixture.root}/a,v`, bytes);
    await observe(context, path, REPORTED);
    await upload(context, path);
    strictEqual(await evict(context, path), "evicted");
    strictEqual(ranges.count, 0, "nothing is kept, so nothing is read out of order");
    await fixture.restorer.restore(path);
    ok(ranges.count > 4, "this store does use ranges");
    deepStrictEqual(await Deno.readFile(`${fixture.root}/a,v`), bytes);

    // Damage that only reading shows: one bit, under the right hash.
    const { key } = manifest.get(path)!.stored!;
    const damaged = bytes.slice();
    damaged[500_000]! ^= 1;
    const { head } = inner;
    inner.head = async (asked) => {
      const info = await head.call(inner, asked);
      return info === null ? null : { ...info, metadata: metadataOf(bytes) };
    };
    await inner.upload({
      key,
      source: sourceOf(damaged),
      metadata: metadataOf(damaged),
      ifAbsent: false,
    });
    const isNoticed = evictVerify === "full";
    strictEqual(await evict(context, path), isNoticed ? "unconfirmed" : "evicted");
    strictEqual(manifest.get(path)?.resident, isNoticed);
  });
}
