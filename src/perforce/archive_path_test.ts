import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { bytePathOf } from "../core/names.ts";
import {
  archiveNames,
  caseRuleOf,
  DepotMaps,
  foldCase,
  parseArchiveName,
} from "./archive_path.ts";
import { expandK, expandKo } from "./keywords.ts";
import type { DepotRow } from "./rows.ts";

const EXACT = caseRuleOf(1);
const ANY_CASE = caseRuleOf(2);
const ANY_CASE_UNICODE = caseRuleOf(10);

function depot(name: string, map: string): DepotRow {
  return { name, type: "local", map, address: "" };
}

Deno.test("DepotMaps resolves relative and absolute maps below the depot root", () => {
  const maps = new DepotMaps(
    [
      depot("depot", "depot/..."),
      depot("big", "/vol2/p4/big/..."),
      depot("old", "/p4/1/depots/old/..."),
      depot("up", "../other/..."),
      depot("dot", "./dot/..."),
    ],
    EXACT,
    ["/here", "/p4/1/depots/"],
  );
  const resolve = (path: string): unknown => {
    const base = maps.resolve(path);
    return base === null ? null : [base.path, base.isOutside];
  };
  deepStrictEqual(resolve("//depot/a/b.c"), ["depot/a/b.c", false]);
  deepStrictEqual(resolve("//big/x"), ["/vol2/p4/big/x", true]);
  deepStrictEqual(resolve("//old/x"), ["old/x", false]);
  deepStrictEqual(resolve("//up/x"), ["../other/x", true]);
  deepStrictEqual(resolve("//dot/x"), ["dot/x", false]);
  strictEqual(resolve("//none/x"), null);
});

Deno.test("a server that ignores case looks for the folded name first", () => {
  const maps = new DepotMaps([depot("Depot", "Depot/...")], ANY_CASE, []);
  strictEqual(maps.resolve("//DEPOT/jam/Build.com")?.path, "Depot/jam/Build.com");
  deepStrictEqual(maps.spellings("Depot/jam/Build.com,v"), [
    "depot/jam/build.com,v",
    "Depot/jam/Build.com,v",
  ]);
  const exact = new DepotMaps([depot("Depot", "Depot/...")], EXACT, []);
  deepStrictEqual(exact.spellings("Depot/A"), ["Depot/A"]);
  strictEqual(exact.resolve("//depot/A"), null);
});

Deno.test("foldCase() folds ASCII, and letters of UTF-8 on unicode servers only", () => {
  const name = bytePathOf("ÄÖ/Straße/İ/X");
  strictEqual(foldCase(name, EXACT), name);
  strictEqual(foldCase(name, ANY_CASE), bytePathOf("ÄÖ/straße/İ/x"));
  strictEqual(foldCase(name, ANY_CASE_UNICODE), bytePathOf("äö/straße/İ/x"));
  strictEqual(foldCase("A\xff\xc4", ANY_CASE_UNICODE), "a\xff\xc4");
});

Deno.test("archiveNames() gives the promised form, then the other", () => {
  deepStrictEqual(archiveNames("rcs", "d/f", "1.2"), ["d/f,v"]);
  deepStrictEqual(archiveNames("gzip", "d/f", "1.2"), ["d/f,d/1.2.gz", "d/f,d/1.2"]);
  deepStrictEqual(archiveNames("plain", "d/f", "1.2"), ["d/f,d/1.2", "d/f,d/1.2.gz"]);
  deepStrictEqual(archiveNames("external", "d/f", "1.2"), []);
});

Deno.test("parseArchiveName() is the inverse of archiveNames()", () => {
  deepStrictEqual(parseArchiveName("d/f,v"), {
    base: "d/f",
    lbrRev: null,
    isGzip: false,
  });
  deepStrictEqual(parseArchiveName("s/75,d/u.p4s,d/1.1.gz"), {
    base: "s/75,d/u.p4s",
    lbrRev: "1.1",
    isGzip: true,
  });
  strictEqual(parseArchiveName("d/readme"), null);
  strictEqual(parseArchiveName(",v"), null);
});

const FACTS = { depotFile: "//depot/jam/Jam.html", depotRev: 21, change: 10305 };

Deno.test("expandKo() expands Id and Header, expanded before or not, and nothing else", () => {
  strictEqual(
    expandKo("a $Id$ b $Header: //x#1 $ $Date$ $Id: over\nlines$", FACTS),
    "a $Id: //depot/jam/Jam.html#21 $ b $Header: //depot/jam/Jam.html#21 $ $Date$ " +
      "$Id: over\nlines$",
  );
});

Deno.test("expandK() gives up where users or the time zone matter", () => {
  strictEqual(
    expandK("$Change$ $File$ $Revision$ $Id$", FACTS),
    "$Change: 10305 $ $File: //depot/jam/Jam.html $ $Revision: #21 $ " +
      "$Id: //depot/jam/Jam.html#21 $",
  );
  strictEqual(expandK("$Id$ $Author$", FACTS), null);
  strictEqual(expandK("$DateTimeTZ$", FACTS), null);
});
