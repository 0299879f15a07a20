/**
 * Sessions of people at browsers: a token is shown once, and a cookie stands for it from then on. No session is
 * stored, so every broker that knows the token takes the cookie, and who takes the token out of the configuration
 * ends its sessions.
 *
 * The cookie has the token in it, sealed with a key made of the token's hash. So to know the hash is not enough to
 * make a cookie, and to have the cookie is not enough to learn the token.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { type ApiToken, hashOf } from "../config/tokens.ts"
import { Refused } from "../errors.ts"
import { Caller, presented } from "./access.ts"

const COOKIE = "tq_session"
const LIFE_MS = 12 * 3_600_000
const NONCE_BYTES = 12
const TAG_BYTES = 16

export interface Session {
  caller: Caller
  /** What each change must carry in X-CSRF-Token: other pages can have the cookie sent, and cannot read this. */
  csrf: string
  expiresAt: number
}

interface Known {
  name: string
  caller: Caller
  hash: string
  key: Buffer
}

const made = (hash: string, purpose: string, of = "") =>
  createHmac("sha256", Buffer.from(hash, "hex")).update(`${purpose} ${of}`).digest()

export class Sessions {
  readonly #byHash = new Map<string, Known>()
  readonly #byName = new Map<string, Known>()

  constructor(tokens: readonly ApiToken[]) {
    for (const token of tokens) {
      const { hash } = token
      // How the cookie names its token: by nothing that the hash or the configuration's name could be read from.
      const name = made(hash, "session name").toString("base64url").slice(0, 12)
      const known = { name, caller: new Caller(token), hash, key: made(hash, "session key") }
      this.#byHash.set(hash, known)
      this.#byName.set(name, known)
    }
  }

  /** A session for who has this token, and the cookie's value; undefined where the token is none. */
  open(token: string, now = Date.now()): (Session & { value: string }) | undefined {
    const known = this.#byHash.get(hashOf(token))
    if (known === undefined) return undefined
    const expiresAt = now + LIFE_MS
    const value = `${known.name}.${seal(known, `${expiresAt} ${token}`)}`
    return { value, ...session(known, value, expiresAt) }
  }

  /** The session of a request. One that presents a token is not asked for it: that goes first, also where it is wrong. */
  of(headers: Headers, now = Date.now()): Session | undefined {
    const value = valueIn(headers)
    if (value === undefined) return undefined
    const known = this.#byName.get(value.slice(0, value.indexOf(".")))
    const text = known && unseal(known, value.slice(value.indexOf(".") + 1))
    if (known === undefined || text === undefined) return undefined
    const [expiry = "", ...token] = text.split(" ")
    if (!(Number(expiry) > now) || !alike(hashOf(token.join(" ")), known.hash)) return undefined
    return session(known, value, Number(expiry))
  }
}

const session = ({ caller, hash }: Known, value: string, expiresAt: number): Session => ({
  caller,
  csrf: made(hash, "csrf", value).toString("base64url"),
  expiresAt,
})

function seal({ key, name }: Known, text: string): string {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(name))
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]).toString(
    "base64url",
  )
}

function unseal({ key, name }: Known, sealed: string): string | undefined {
  const bytes = Buffer.from(sealed, "base64url")
  if (bytes.length <= NONCE_BYTES + TAG_BYTES) return undefined
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(Buffer.from(name)).setAuthTag(bytes.subarray(-TAG_BYTES))
  try {
    return (
      decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, "utf8") + decipher.final("utf8")
    )
  } catch {
    return undefined
  }
}

/** Compared so that the time tells nothing. */
function alike(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)] // of one length as text they may be of two as bytes
  return one.length === other.length && timingSafeEqual(one, other)
}

const valueIn = (headers: Headers): string | undefined =>
  /(?:^|;) *tq_session=([\w.-]+) *(?:;|$)/.exec(headers.get("cookie") ?? "")?.[1]

/** Whether the request shows who sends it, rightly or wrongly. */
export const showsSomebody = (headers: Headers): boolean =>
  presented(headers) !== undefined || valueIn(headers) !== undefined

/** Not for scripts, not for other sites, and not without TLS where the browser came by it. */
export function cookieOf(request: Request, value: string, expiresAt: number, now = Date.now()): string {
  const forwarded = request.headers.get("x-forwarded-proto")?.split(",")[0]?.trim().toLowerCase()
  const secure = (forwarded ?? new URL(request.url).protocol.slice(0, -1)) === "https"
  const age = Math.max(0, Math.ceil((expiresAt - now) / 1_000))
  return `${COOKIE}=${value}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Strict${secure ? "; Secure" : ""}`
}

/** Refuses what a page of another origin may have had the browser send. To the cookie another port is the same site. */
export function refuseForeign({ headers }: Request): void {
  const site = headers.get("sec-fetch-site")
  const origin = headers.get("origin")
  // Browsers tell the first only where there is TLS, or to localhost.
  const foreign =
    site === null ? origin !== null && !isOurs(origin, headers) : !/^(same-origin|none)$/.test(site)
  if (foreign) throw new Refused("forbidden", { detail: "A page of another origin may not ask this." })
}

function isOurs(origin: string, headers: Headers): boolean {
  const hosts = [headers.get("host"), ...(headers.get("x-forwarded-host")?.split(/, */) ?? [])]
  return hosts.includes(URL.parse(origin)?.host ?? "")
}

/** Refuses a change that is asked for by the cookie alone. */
export function refuseForged({ headers }: Request, { csrf }: Session): void {
  if (alike(headers.get("x-csrf-token") ?? "", csrf)) return
  throw new Refused("forbidden", {
    detail: "With the cookie of a session this needs X-CSRF-Token: GET /session tells it as `csrf`.",
  })
}
