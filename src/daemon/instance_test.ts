import { strictEqual } from "node:assert/strict";
import { type InstanceFacts, planInstance } from "./instance.ts";

const NEW: InstanceFacts = {
  inManifest: null,
  inStore: null,
  inSecondary: null,
  manifestIsEmpty: true,
  storeIsEmpty: true,
  isReadOnly: false,
};

const CASES: readonly [string, Partial<InstanceFacts>, string][] = [
  ["both are new", {}, "create"],
  ["both have the same id", { inManifest: "a", inStore: "a" }, "go"],
  ["they have different ids", { inManifest: "a", inStore: "b" }, "refuse"],
  ["a crash kept the id from the store", { inManifest: "a" }, "write-store"],
  ["the store is empty under a manifest with rows", {
    inManifest: "a",
    manifestIsEmpty: false,
  }, "refuse"],
  ["the store that was the primary is the secondary now, and the new one is empty", {
    inManifest: "a",
    inSecondary: "a",
    manifestIsEmpty: false,
  }, "write-store"],
  ["the new store is not empty", {
    inManifest: "a",
    inSecondary: "a",
    manifestIsEmpty: false,
    storeIsEmpty: false,
  }, "refuse"],
  ["the secondary is another instance's", {
    inManifest: "a",
    inSecondary: "b",
    manifestIsEmpty: false,
  }, "refuse"],
  ["the marker is missing among objects, and rows exist", {
    inManifest: "a",
    manifestIsEmpty: false,
    storeIsEmpty: false,
  }, "refuse"],
  ["the manifest is empty over a store that is not", { storeIsEmpty: false }, "refuse"],
  ["the manifest is empty over another instance's store", {
    inStore: "b",
    storeIsEmpty: false,
  }, "refuse"],
  ["the manifest is empty over a store with a marker only", { inStore: "b" }, "refuse"],
  ["rows without an id", { manifestIsEmpty: false }, "refuse"],
  ["nothing is written in read_only", {
    inManifest: "a",
    inStore: "b",
    isReadOnly: true,
  }, "go"],
];

for (const [what, facts, wanted] of CASES) {
  Deno.test(`planInstance(): ${what}: ${wanted}`, () => {
    strictEqual(planInstance({ ...NEW, ...facts }).action, wanted);
  });
}
