/** The contract, asked of the store in memory. */

import { openMemBackend } from "../../src/storage/mem/mem_backend.ts";
import { testBackend } from "./backend_suite.ts";

testBackend({
  name: "mem",
  open: () => Promise.resolve({ backend: openMemBackend(), close: async () => {} }),
});
