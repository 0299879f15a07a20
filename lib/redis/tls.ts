/** TLS to Redis: what to change when a connection fails because of it. */

interface Place {
  /** Whether the connection uses TLS. */
  tls: unknown
  /** Whether a connection to this server was ever ready: then the settings are right. */
  wasReady: boolean
}

/** Advice by the code of the error; ioredis passes on only the text of a Sentinel's error. Codes: OpenSSL's and Node's. */
const ADVICE: readonly [RegExp, string][] = [
  [
    /SELF_SIGNED_CERT|UNABLE_TO_(VERIFY|GET_ISSUER)|self[- ]signed certificate|unable to (verify|get (local )?issuer)/i,
    "its certificate is not signed by a known authority: set REDIS_TLS_CA to the file of its authority",
  ],
  [/CERT_HAS_EXPIRED|certificate has expired/i, "its certificate has expired: renew it on the server"],
  [
    /CERT_NOT_YET_VALID|not yet valid/i,
    "its certificate is not valid yet: check the clocks of both machines",
  ],
  [
    /ALTNAME_INVALID|altnames/i,
    "its certificate is for another name: set REDIS_TLS_SERVER_NAME to a name in the certificate, or use an address that it names",
  ],
  [
    /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|certificate required/i,
    "it asks for a client certificate: set REDIS_TLS_CERT and REDIS_TLS_KEY",
  ],
  [
    /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_)|unknown ca|bad certificate/i,
    "it does not accept the client certificate: check REDIS_TLS_CERT and REDIS_TLS_KEY",
  ],
  [
    /KEY_VALUES_MISMATCH|PEM|NO_START_LINE|key values mismatch/i,
    "the client certificate cannot be used: check that REDIS_TLS_KEY is the key of REDIS_TLS_CERT",
  ],
  [
    /WRONG_VERSION|wrong version number/i,
    "it does not speak TLS on this port: use its TLS port, or set REDIS_TLS=false and write redis:// in the address",
  ],
]
const NO_TLS_THERE =
  "if it does not speak TLS on this port, use its TLS port, or set REDIS_TLS=false and write redis:// in the address"
const TLS_THERE = "if it expects TLS, set REDIS_TLS=true, or write rediss:// in REDIS_URL"

/** The error's text, and what to change if TLS is the cause. */
export function explainTls(error: Error, { tls, wasReady }: Place): string {
  const { message, code = "" } = error as NodeJS.ErrnoException
  if (tls !== undefined) {
    const [, advice] = ADVICE.find(([cause]) => cause.test(code) || cause.test(message)) ?? []
    if (advice !== undefined) return `${message}: ${advice}`
    // A server that waits for the end of a line never answers the handshake.
    if (!wasReady && /ETIMEDOUT|timed out/.test(message)) return `${message}: ${NO_TLS_THERE}`
  } else if (!wasReady && /ECONNRESET|Connection is closed|socket hang up/.test(message))
    return `${message}: ${TLS_THERE}`
  return message
}
