/**
 * Amazon's documented error answers, through the SDK's own parser.
 */

import { testTools } from "../../../tests/conformance/cloud_fixture.ts";
import { expectFaults, type Recorded } from "../../../tests/support/recorded_answers.ts";
import { openS3Backend } from "./s3_backend.ts";

const xml = (code: string, message: string, more = ""): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code>` +
  `<Message>${message}</Message>${more}<Resource>/b/depot/a,v</Resource>` +
  "<RequestId>4442587FB7D0A2F9</RequestId></Error>";

const download = { request: "download" } as const;
const upload = { request: "upload" } as const;

const RECORDED: readonly Recorded[] = [
  {
    ...download,
    status: 404,
    body: xml("NoSuchKey", "The specified key does not exist.", "<Key>depot/a,v</Key>"),
    fault: "not-found",
  },
  {
    ...download,
    status: 404,
    body: xml(
      "NoSuchBucket",
      "The specified bucket does not exist",
      "<BucketName>b</BucketName>",
    ),
    fault: "invalid",
    says: /create it, or correct bucket/,
  },
  {
    ...download,
    status: 403,
    body: xml(
      "InvalidObjectState",
      "The operation is not valid for the object's storage class",
      "<StorageClass>DEEP_ARCHIVE</StorageClass>",
    ),
    fault: "archived",
    says: /p4-cache restore-archived/,
  },
  {
    ...download,
    status: 403,
    body: xml("AccessDenied", "Access Denied"),
    fault: "denied",
  },
  {
    ...download,
    status: 403,
    body: xml(
      "InvalidAccessKeyId",
      "The AWS Access Key Id you provided does not exist in our records.",
      "<AWSAccessKeyId>AKIA</AWSAccessKeyId>",
    ),
    fault: "denied",
  },
  {
    ...download,
    status: 403,
    body: xml(
      "SignatureDoesNotMatch",
      "The request signature we calculated does not match the signature you provided.",
    ),
    fault: "denied",
    says: /secret key/,
  },
  {
    ...download,
    status: 400,
    body: xml("ExpiredToken", "The provided token has expired."),
    fault: "denied",
  },
  {
    ...download,
    status: 403,
    body: xml(
      "RequestTimeTooSkewed",
      "The difference between the request time and the current time is too large.",
      "<RequestTime>20250102T030405Z</RequestTime><ServerTime>2025-01-02T05:00:00Z" +
        "</ServerTime><MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>",
    ),
    fault: "unavailable",
    says: /NTP/,
  },
  {
    ...download,
    status: 416,
    body: xml(
      "InvalidRange",
      "The requested range is not satisfiable",
      "<RangeRequested>bytes=9-10</RangeRequested>" +
        "<ActualObjectSize>3</ActualObjectSize>",
    ),
    fault: "corrupt",
  },
  {
    ...download,
    status: 412,
    body: xml(
      "PreconditionFailed",
      "At least one of the pre-conditions you specified did not hold",
      "<Condition>If-Match</Condition>",
    ),
    fault: "precondition",
  },
  {
    ...download,
    status: 503,
    headers: { "retry-after": "7" },
    body: xml("SlowDown", "Please reduce your request rate."),
    fault: "throttled",
    retryAfterMs: 7_000,
  },
  {
    ...download,
    status: 500,
    body: xml("InternalError", "We encountered an internal error. Please try again."),
    fault: "unavailable",
  },
  {
    ...download,
    status: 301,
    headers: { "x-amz-bucket-region": "eu-west-1" },
    body: xml(
      "PermanentRedirect",
      "The bucket you are attempting to access must be addressed using the specified " +
        "endpoint.",
      "<Endpoint>b.s3-eu-west-1.amazonaws.com</Endpoint>",
    ),
    fault: "invalid",
    says: /set region/,
  },
  {
    ...download,
    status: 400,
    body: xml(
      "AuthorizationHeaderMalformed",
      "The authorization header is malformed; the region 'us-east-1' is wrong; expecting " +
        "'eu-central-1'",
      "<Region>eu-central-1</Region>",
    ),
    fault: "denied",
    says: /expecting 'eu-central-1'/,
  },
  {
    ...upload,
    status: 412,
    body: xml("PreconditionFailed", "At least one did not hold"),
    fault: "precondition",
  },
  {
    ...upload,
    status: 409,
    body: xml(
      "ConditionalRequestConflict",
      "The conditional request cannot succeed due to a conflicting operation",
    ),
    fault: "unavailable",
  },
  {
    ...upload,
    status: 400,
    body: xml(
      "XAmzContentSHA256Mismatch",
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
    fault: "corrupt",
  },
  {
    ...upload,
    status: 400,
    body: xml(
      "BadDigest",
      "The Content-MD5 you specified did not match what we received.",
    ),
    fault: "corrupt",
  },
  {
    ...upload,
    status: 400,
    body: xml(
      "RequestTimeout",
      "Your socket connection to the server was not read from or written to within the " +
        "timeout period. Idle connections will be closed.",
    ),
    fault: "unavailable",
  },
  {
    ...upload,
    status: 400,
    body: xml("KMS.DisabledException", "arn:aws:kms:eu-central-1:1:key/k is disabled."),
    fault: "denied",
  },
  {
    ...upload,
    status: 507,
    body: xml("XMinioStorageFull", "Storage backend has reached its minimum free disk."),
    fault: "full",
  },
  // Of a bucket with a default retention; sent again with its MD5, and refused again here.
  {
    ...upload,
    status: 400,
    body: xml(
      "InvalidRequest",
      "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests " +
        "with Object Lock parameters",
    ),
    fault: "invalid",
    says: /Content-MD5 OR/,
  },
  {
    ...upload,
    status: 400,
    body: xml(
      "InvalidRequest",
      "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with " +
        "Object Lock parameters",
    ),
    fault: "invalid",
    says: /Put Part/,
  },
  // Of Backblaze, to If-None-Match.
  {
    ...upload,
    status: 501,
    body: xml(
      "NotImplemented",
      "A header you provided implies functionality that is not implemented.",
    ),
    fault: "invalid",
  },
  {
    request: "list",
    status: 404,
    body: xml("NoSuchBucket", "The specified bucket does not exist"),
    fault: "invalid",
  },
  // The answer to a HEAD has no body, and so no code.
  { request: "head", status: 403, fault: "denied" },
  { request: "head", status: 404, fault: "invalid", says: /bucket/ },
  { request: "head", status: 400, fault: "denied", says: /expired, or region is wrong/ },
  {
    request: "head",
    status: 503,
    headers: { "retry-after": "Thu, 02 Jan 2025 03:04:35 GMT" },
    fault: "throttled",
    retryAfterMs: 30_000,
  },
  {
    request: "delete",
    status: 403,
    body: xml("AccessDenied", "Access Denied because object protected by object lock."),
    fault: "denied",
  },
  // Not S3's at all: a proxy in between.
  {
    ...download,
    status: 502,
    headers: { "content-type": "text/html" },
    body: "<html><body>Bad Gateway</body></html>",
    fault: "unavailable",
  },
];

Deno.test("each documented error answer of S3 has its fault, parsed by the SDK", async () => {
  const { retry } = testTools();
  const once = { ...retry, policy: { ...retry.policy, attemptsMax: 1 } };
  await expectFaults((endpoint) =>
    openS3Backend({
      ...{ type: "s3", bucket: "b", accessKey: "a", secretKey: "s" },
      endpoint,
      endpointPin: true,
    }, testTools({ retry: once })), RECORDED);
});
