/** The contract of stores that are reached by HTTP, asked of a real S3 server. */

import { testHttpStore } from "./contract_http.ts";
import { S3_HTTP } from "./s3_site.ts";

testHttpStore(S3_HTTP);
