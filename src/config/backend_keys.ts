/**
 * The keys of a store (`primary`, `secondary`), and the rules between them.
 *
 * @module
 */

import { type FieldsOf, type KeyTable, readObject, restart } from "./key_spec.ts";
import { type ConfigProblem, describeValue } from "./problem.ts";
import { schemaOfTable } from "./schema.ts";
import type { Secret } from "./secret.ts";
import {
  absolutePath,
  boolean,
  endpoint,
  fixed,
  integer,
  isObject,
  keyPrefix,
  nullable,
  oneOf,
  type Place,
  type Reading,
  secret,
  text,
  type ValueKind,
} from "./value_kinds.ts";

const PREFIX_KEYS = {
  path_prefix: restart(keyPrefix(), "", {
    help:
      "Put before each key, with a slash between. Two daemons never write below the same one.",
  }),
} as const;

const CLOUD_KEYS = {
  ...PREFIX_KEYS,
  endpoint: restart(nullable(endpoint()), null, {
    help: "URL of a service of your own or of a private endpoint.",
    defaultNote: "the vendor's",
  }),
  endpoint_pin: restart(boolean(), false, {
    help: "Must be true with an `endpoint`: no request goes to any other host.",
  }),
  ca_cert_path: restart(nullable(absolutePath()), null, {
    help: "PEM file of further certificate authorities.",
  }),
  verify_ssl: restart(
    fixed(true, "anybody between here and the store could replace it; use ca_cert_path"),
    true,
    {
      help:
        "Always true. False is refused: name the store's authority in `ca_cert_path`.",
    },
  ),
  restore_chunk_threshold_mb: restart(nullable(integer(0, 1_048_576)), null, {
    help: "For this store alone, in place of the common key.",
    defaultNote: "the common key",
  }),
  restore_chunk_threads: restart(nullable(integer(1, 64)), null, {
    help: "For this store alone, in place of the common key.",
    defaultNote: "the common key",
  }),
  upload_part_mb: restart(integer(5, 5_120), 8, {
    help:
      "Files over this size are sent in parts of it. More for files that would have " +
      "over 10,000 parts.",
  }),
  upload_part_threads: restart(integer(1, 64), 4, {
    help: "Parts in flight for one file.",
  }),
  stall_secs: restart(integer(1, 3_600), 60, {
    help: "Longest time that a transfer may go without any progress.",
  }),
} as const;

const STORAGE_CLASS = restart(nullable(text()), null, {
  help:
    "Class (access tier) of new objects. A class that must be thawed first is no use here.",
  defaultNote: "the bucket's or the account's",
});

export const NFS_KEYS = {
  type: restart(oneOf("nfs"), undefined, { help: "A directory, local or mounted." }),
  path: restart(absolutePath(), undefined, {
    help: "The mounted export, or a directory in it. It must exist.",
  }),
  ...PREFIX_KEYS,
  initialize: restart(boolean(), false, {
    help:
      "Start a store in a directory that is empty and no mount point, which is what an " +
      "export looks like that somebody forgot to mount.",
  }),
} as const;

export const S3_KEYS = {
  type: restart(oneOf("s3"), undefined, { help: "Amazon S3 or a compatible service." }),
  bucket: restart(text(), undefined, { help: "It must exist." }),
  region: restart(nullable(text()), null, {
    help: "Region of the bucket.",
    defaultNote: "the SDK's; `us-east-1` with an endpoint",
  }),
  access_key: restart(nullable(secret()), null, {
    help: "With `secret_key`; neither for the SDK's own chain.",
    defaultNote: "the SDK's chain",
  }),
  secret_key: restart(nullable(secret()), null, { help: "Belongs to `access_key`." }),
  session_token: restart(nullable(secret()), null, { help: "With temporary keys." }),
  force_path_style: restart(nullable(boolean()), null, {
    help: "`endpoint/bucket/key` in place of `bucket.endpoint/key`.",
    defaultNote: "true with an endpoint",
  }),
  server_side_encryption: restart(boolean(), false, {
    help: "Ask for SSE-S3 (AES256); with `kms_key_id` for SSE-KMS.",
  }),
  kms_key_id: restart(nullable(text()), null, { help: "Key for SSE-KMS." }),
  storage_class: STORAGE_CLASS,
  ...CLOUD_KEYS,
} as const;

export const AZURE_KEYS = {
  type: restart(oneOf("azure"), undefined, { help: "Azure Blob Storage." }),
  container: restart(text(), undefined, { help: "It must exist." }),
  account_name: restart(text(), undefined, { help: "Name of the storage account." }),
  account_key: restart(nullable(secret()), null, {
    help: "Or `sas_token`; neither for the SDK's own chain.",
    defaultNote: "the SDK's chain",
  }),
  sas_token: restart(nullable(secret()), null, { help: "Or `account_key`." }),
  storage_class: STORAGE_CLASS,
  ...CLOUD_KEYS,
} as const;

export const GCS_KEYS = {
  type: restart(oneOf("gcs"), undefined, { help: "Google Cloud Storage." }),
  bucket: restart(text(), undefined, { help: "It must exist." }),
  project_id: restart(nullable(text()), null, {
    help: "Project that pays for the requests.",
    defaultNote: "the bucket's",
  }),
  credentials_file: restart(nullable(absolutePath()), null, {
    help: "Key of a service account.",
    defaultNote: "Application Default Credentials",
  }),
  storage_class: STORAGE_CLASS,
  ...CLOUD_KEYS,
} as const;

export const BACKEND_KEYS = {
  nfs: NFS_KEYS,
  s3: S3_KEYS,
  azure: AZURE_KEYS,
  gcs: GCS_KEYS,
} as const satisfies Readonly<Record<string, KeyTable>>;

export type BackendType = keyof typeof BACKEND_KEYS;

export type NfsConfig = FieldsOf<typeof NFS_KEYS>;
export type AzureConfig = Tuned<FieldsOf<typeof AZURE_KEYS>>;
export type GcsConfig = Tuned<FieldsOf<typeof GCS_KEYS>>;
export type S3Config = Omit<Tuned<FieldsOf<typeof S3_KEYS>>, "forcePathStyle"> & {
  readonly forcePathStyle: boolean;
};
export type BackendConfig = NfsConfig | S3Config | AzureConfig | GcsConfig;

/** What the common keys are the default of. */
export interface RestoreTuning {
  readonly restoreChunkThresholdMb: number;
  readonly restoreChunkThreads: number;
}

type Tuned<T> = Omit<T, keyof RestoreTuning> & RestoreTuning;

/** A store as it is written, before the common keys are put in. */
export type BackendFields =
  | NfsConfig
  | FieldsOf<typeof S3_KEYS>
  | FieldsOf<typeof AZURE_KEYS>
  | FieldsOf<typeof GCS_KEYS>;

export function backend(): ValueKind<BackendFields> {
  const types = Object.keys(BACKEND_KEYS) as BackendType[];
  const wanted = `a store: an object whose "type" is ${oneOf(...types).wanted}`;
  return {
    wanted,
    schema: { anyOf: types.map((type) => schemaOfTable(BACKEND_KEYS[type])) },
    read(value: unknown, place: Place): Reading<BackendFields> {
      if (!isObject(value)) {
        return { problems: [{ key: place.key, value: describeValue(value), wanted }] };
      }
      const type = types.find((it) => it === value["type"]);
      if (type === undefined) {
        const given = "type" in value ? describeValue(value["type"]) : null;
        const key = `${place.key}.type`;
        return { problems: [{ key, value: given, wanted: oneOf(...types).wanted }] };
      }
      const at = `${place.key}.`;
      const { fields, problems } = readObject(
        value,
        BACKEND_KEYS[type],
        at,
        place.secrets,
      );
      const all = [...problems, ...problemsBetween(fields as AnyFields, at)];
      return all.length > 0 ? { problems: all } : { value: fields as BackendFields };
    },
  };
}

/** Any field of any store; one with a problem of its own is missing. */
interface AnyFields {
  readonly endpoint?: string | null;
  readonly endpointPin?: boolean;
  readonly accessKey?: Secret | null;
  readonly secretKey?: Secret | null;
  readonly sessionToken?: Secret | null;
  readonly accountKey?: Secret | null;
  readonly sasToken?: Secret | null;
  readonly kmsKeyId?: string | null;
  readonly serverSideEncryption?: boolean;
}

function problemsBetween(fields: AnyFields, at: string): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const refuse = (key: string, value: string | null, wanted: string): void => {
    problems.push({ key: `${at}${key}`, value, wanted });
  };
  if (fields.endpoint && fields.endpointPin === false) {
    const wanted = "true, with an endpoint: it says that no request may go elsewhere";
    refuse("endpoint_pin", "false", wanted);
  }
  if (fields.accessKey && fields.secretKey === null) {
    refuse("secret_key", null, "the one that belongs to access_key");
  }
  if (fields.secretKey && fields.accessKey === null) {
    refuse("access_key", null, "the one that belongs to secret_key");
  }
  if (fields.sessionToken && fields.accessKey === null) {
    refuse("session_token", "given", "access_key and secret_key with it");
  }
  if (fields.accountKey && fields.sasToken) {
    refuse("sas_token", "given", "account_key or sas_token, not both");
  }
  if (fields.kmsKeyId && fields.serverSideEncryption === false) {
    refuse("kms_key_id", "given", "server_side_encryption true with it");
  }
  return problems;
}

/** Puts in what a store leaves to the common keys, and what follows from its own. */
export function completeBackend(
  fields: BackendFields,
  common: RestoreTuning,
): BackendConfig {
  if (fields.type === "nfs") return fields;
  const tuned = {
    restoreChunkThresholdMb: fields.restoreChunkThresholdMb ??
      common.restoreChunkThresholdMb,
    restoreChunkThreads: fields.restoreChunkThreads ?? common.restoreChunkThreads,
  };
  if (fields.type !== "s3") return { ...fields, ...tuned };
  const forcePathStyle = fields.forcePathStyle ?? fields.endpoint !== null;
  return { ...fields, ...tuned, forcePathStyle };
}
