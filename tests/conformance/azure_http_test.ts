/** The contract of stores that are reached by HTTP, asked of Microsoft's own emulator. */

import { AZURE_HTTP } from "./azure_site.ts";
import { testHttpStore } from "./contract_http.ts";

testHttpStore(AZURE_HTTP);
