import { match } from "node:assert/strict";
import { openEngineFixture } from "../../tests/support/engine_fixture.ts";
import { parseConfig } from "../config/parse_config.ts";
import { Engine } from "../engine/engine.ts";
import { observe, REPORTED } from "../engine/observe.ts";
import { developmentLicense } from "../license/policy.ts";
import { reportMetrics } from "./reporters.ts";

Deno.test("reportMetrics() says what the licence counts, and no more of credentials than there is", async () => {
  await using fixture = await openEngineFixture();
  const { clock, log, metrics, manifest } = fixture.context;
  await fixture.write("a,v", "12345");
  await observe(fixture.context, fixture.path("a,v"), REPORTED);
  const end = new AbortController();
  const parsed = parseConfig({
    "depot_path": fixture.root,
    primary: { type: "nfs", path: "/store" },
  });
  if (!("config" in parsed)) throw new Error(JSON.stringify(parsed.problems));
  const { config } = parsed;
  const ends = { primary: clock.nowMs() - 1_000, secondary: null };
  const reporting = reportMetrics({
    config: () => config,
    manifest,
    engine: new Engine(fixture.context),
    credentialEnds: ends,
    license: { ...developmentLicense(), softCeilingBytes: 4 },
    metrics,
    log,
    clock,
    signal: end.signal,
  });
  end.abort();
  await reporting;
  const shown = await metrics.render();
  match(shown, /^p4cache_license_managed_bytes 5$/m);
  match(shown, /^p4cache_license_soft_ceiling_bytes 4$/m);
  match(shown, /^p4cache_license_hard_ceiling_bytes \+Inf$/m);
  match(shown, /^p4cache_credentials_left_seconds\{store="primary"\} -\d/m);
  match(shown, /^(?![^]*store="secondary"\})/);
});
