/** The variables for TLS to Redis. Certificates and keys are read from their files once, at the start. */
import type { Reader } from "./reader.ts"

/** PEM texts. What is undefined is the default of TLS: known authorities, no client certificate, the name of the host. */
export interface RedisTls {
  ca: string | undefined
  cert: string | undefined
  key: string | undefined
  servername: string | undefined
}

/** undefined: no TLS. `isOwn`: the broker runs its own Redis. */
export function readRedisTls(read: Reader, isOwn: boolean): RedisTls | undefined {
  const wanted = read.word("REDIS_TLS", ["true", "false"], "false") === "true"
  const url = read.text("REDIS_URL")
  const addresses = url ?? read.text("REDIS_SENTINELS") ?? read.text("REDIS_CLUSTER") ?? ""
  const isRediss = addresses.includes("rediss://")
  if (wanted && isOwn)
    read.fault("REDIS_TLS requires an external Redis: the embedded Redis does not use TLS", undefined)
  if (wanted && url !== undefined && !isRediss)
    read.fault(
      "REDIS_TLS is true, but REDIS_URL does not begin with rediss://: write rediss:// there, or unset REDIS_TLS",
      undefined,
    )
  const pem = (name: "REDIS_TLS_CA" | "REDIS_TLS_CERT" | "REDIS_TLS_KEY") => {
    const text = read.file(name)
    if (text !== undefined && !text.includes("-----BEGIN "))
      read.fault(`${name} must name a file in PEM format, which has a line -----BEGIN ...-----`, undefined)
    return text
  }
  const tls = {
    ca: pem("REDIS_TLS_CA"),
    cert: pem("REDIS_TLS_CERT"),
    key: pem("REDIS_TLS_KEY"),
    servername: read.text("REDIS_TLS_SERVER_NAME"),
  }
  if ((read.text("REDIS_TLS_CERT") === undefined) !== (read.text("REDIS_TLS_KEY") === undefined))
    read.fault(
      "REDIS_TLS_CERT and REDIS_TLS_KEY must be set together: a certificate needs its key",
      undefined,
    )
  if (wanted || isRediss) return tls
  if (Object.values(tls).some(value => value !== undefined))
    read.fault(
      "REDIS_TLS_CA, REDIS_TLS_CERT, REDIS_TLS_KEY and REDIS_TLS_SERVER_NAME require TLS: set REDIS_TLS=true, or write rediss:// in REDIS_URL",
      undefined,
    )
  return undefined
}
