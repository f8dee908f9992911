/**
 * A service account for the stand-in: a key pair, and the JSON file that a real account's
 * owner downloads.
 *
 * @module
 */

import { generateKeyPairSync } from "node:crypto";

export interface TestAccount {
  readonly publicKey: string;
  /** Writes the credentials file, for a server whose token endpoint is `tokenUri`. */
  writeFile(path: string, tokenUri: string): Promise<void>;
}

export function createTestAccount(): TestAccount {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2_048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return {
    publicKey,
    async writeFile(path: string, tokenUri: string): Promise<void> {
      const account = {
        type: "service_account",
        "project_id": "p4cache-test",
        "private_key_id": "1",
        "private_key": privateKey,
        "client_email": "p4cache@p4cache-test.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": tokenUri,
      };
      await Deno.writeTextFile(path, JSON.stringify(account));
    },
  };
}
