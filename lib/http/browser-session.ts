/**
 * Sessions of people in browsers. A person enters a token once and gets a cookie. Sessions are not stored: every broker
 * that knows the token accepts the cookie, and removing the token from the configuration ends its sessions.
 *
 * The cookie contains the token, encrypted with a key derived from the token's hash. So a person who knows only the
 * hash cannot make a cookie, and a person who has only the cookie cannot read the token.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { type ApiToken, hashOf } from "../config/tokens.ts"
import { Refused } from "../errors.ts"
import { Caller, tokenOf } from "./access.ts"
import { urlOf } from "./answer.ts"

const COOKIE = "tq_session"
/** Browsers accept a cookie with this name only over TLS and from this host, so no other host can set it. */
const SECURE_COOKIE = `__Host-${COOKIE}`
const LIFETIME_MS = 12 * 3_600_000
const NONCE_BYTES = 12
const TAG_BYTES = 16

export interface Session {
  caller: Caller
  /** Every change must send this in X-CSRF-Token. Other sites can make a browser send the cookie but cannot read this. */
  csrf: string
  expiresAt: number
}

interface SessionToken {
  name: string
  caller: Caller
  hash: string
  key: Buffer
}

const derive = (hash: string, purpose: string, input = "") =>
  createHmac("sha256", Buffer.from(hash, "hex")).update(`${purpose} ${input}`).digest()

export class Sessions {
  readonly #byHash = new Map<string, SessionToken>()
  readonly #byName = new Map<string, SessionToken>()

  constructor(tokens: readonly ApiToken[]) {
    for (const token of tokens) {
      const { hash } = token
      // The name of the token in the cookie reveals neither the hash nor the name in the configuration.
      const name = derive(hash, "session name").toString("base64url").slice(0, 12)
      const known = { name, caller: new Caller(token), hash, key: derive(hash, "session key") }
      this.#byHash.set(hash, known)
      this.#byName.set(name, known)
    }
  }

  /** Opens a session for this token and returns it with the cookie's value; undefined if the token is unknown. */
  open(token: string, now = Date.now()): (Session & { value: string }) | undefined {
    const known = this.#byHash.get(hashOf(token))
    if (known === undefined) return undefined
    const expiresAt = now + LIFETIME_MS
    const value = `${known.name}.${seal(known, `${expiresAt} ${token}`)}`
    return { value, ...session(known, value, expiresAt) }
  }

  /** The session of the request's cookie, if it is valid. If a request carries a token, valid or not, do not call this. */
  of(headers: Headers, now = Date.now()): Session | undefined {
    const value = valueIn(headers)
    if (value === undefined) return undefined
    const known = this.#byName.get(value.slice(0, value.indexOf(".")))
    const text = known && unseal(known, value.slice(value.indexOf(".") + 1))
    if (known === undefined || text === undefined) return undefined
    const [expiry = "", ...token] = text.split(" ")
    if (!(Number(expiry) > now) || !areEqual(hashOf(token.join(" ")), known.hash)) return undefined
    return session(known, value, Number(expiry))
  }
}

const session = ({ caller, hash }: SessionToken, value: string, expiresAt: number): Session => ({
  caller,
  csrf: derive(hash, "csrf", value).toString("base64url"),
  expiresAt,
})

// AES-256-GCM by node:crypto, because authentication is synchronous. A JWE library such as jose has an asynchronous API,
// and an asynchronous hook would cost every request a trip through the microtask queue.
function seal({ key, name }: SessionToken, text: string): string {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(name))
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]).toString(
    "base64url",
  )
}

function unseal({ key, name }: SessionToken, sealed: string): string | undefined {
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

/** Compares in constant time. */
function areEqual(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)] // texts of the same length may differ in bytes
  return one.length === other.length && timingSafeEqual(one, other)
}

/** The cookie with the prefix takes precedence. A session that began without TLS, or before this prefix existed, has the other. */
function valueIn(headers: Headers): string | undefined {
  const cookies = headers.get("cookie")
  if (cookies === null) return undefined
  return (
    /(?:^|;) *__Host-tq_session=([\w.-]+) *(?:;|$)/.exec(cookies)?.[1] ??
    /(?:^|;) *tq_session=([\w.-]+) *(?:;|$)/.exec(cookies)?.[1]
  )
}

/** Whether the request carries a token or a session cookie, valid or not. */
export const hasCredentials = (headers: Headers): boolean =>
  tokenOf(headers) !== undefined || valueIn(headers) !== undefined

/** The Set-Cookie header: hidden from scripts, not sent from other sites, and `Secure` if the browser came over TLS. */
export function cookieOf(request: Request, value: string, expiresAt: number, now = Date.now()): string {
  const forwarded = request.headers.get("x-forwarded-proto")?.split(",")[0]?.trim().toLowerCase()
  const secure = (forwarded ?? urlOf(request)?.protocol.slice(0, -1)) === "https"
  const age = Math.max(0, Math.ceil((expiresAt - now) / 1_000))
  return `${secure ? SECURE_COOKIE : COOKIE}=${value}; Path=/; Max-Age=${age}; ${ATTRIBUTES}${secure ? "; Secure" : ""}`
}

const ATTRIBUTES = "HttpOnly; SameSite=Strict"

/** The Set-Cookie headers that delete both cookies. A browser ignores the one with the prefix unless it uses TLS. */
export const EXPIRED_COOKIES = [
  `${COOKIE}=; Path=/; Max-Age=0; ${ATTRIBUTES}`,
  `${SECURE_COOKIE}=; Path=/; Max-Age=0; ${ATTRIBUTES}; Secure`,
]

/** Refuses requests from pages of another origin. For the cookie alone, another port is still the same site. */
export function rejectCrossOrigin({ headers }: Request): void {
  const site = headers.get("sec-fetch-site")
  const origin = headers.get("origin")
  // Browsers send Sec-Fetch-Site only over TLS or to localhost.
  const isForeign =
    site === null ? origin !== null && !isOurs(origin, headers) : !/^(same-origin|none)$/.test(site)
  if (isForeign)
    throw new Refused("forbidden", {
      detail:
        "A page of another origin may not send this request. Send it from a page of this broker; a proxy must pass on Host or X-Forwarded-Host.",
    })
}

function isOurs(origin: string, headers: Headers): boolean {
  const hosts = [headers.get("host"), ...(headers.get("x-forwarded-host")?.split(/, */) ?? [])]
  return hosts.includes(URL.parse(origin)?.host ?? "")
}

/** Refuses a change that only the cookie authorizes. */
export function requireCsrf({ headers }: Request, { csrf }: Pick<Session, "csrf">): void {
  if (areEqual(headers.get("x-csrf-token") ?? "", csrf)) return
  throw new Refused("forbidden", {
    detail:
      "A request with a session cookie needs the header X-CSRF-Token. GET /session returns its value as `csrf`.",
  })
}
