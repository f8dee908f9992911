/** The contract of stores that are reached by HTTP, asked of the stand-in for Google. */

import { testHttpStore } from "./contract_http.ts";
import { GCS_HTTP } from "./gcs_site.ts";

testHttpStore(GCS_HTTP);
