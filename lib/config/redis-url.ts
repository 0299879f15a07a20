/** Checks REDIS_URL. No fault repeats a part of the address, because it may be a piece of the password. */

const FORM =
  "must be an address such as redis://user:password@host:6379/0, rediss:// (TLS), unix:///path or /path. In a user name or " +
  "password, characters such as @ / # ? % must be percent-encoded (%40 %2F %23 %3F %25), or use REDIS_HOST and REDIS_PASSWORD"

/** What is wrong with this address; undefined if nothing is. */
export function faultOfRedisUrl(address: string): string | undefined {
  const isSocket = address.startsWith("/") || address.startsWith("unix:///")
  const url = URL.parse(isSocket ? address.replace(/^(unix:\/\/)?/, "unix://") : address)
  if (url === null || (!isSocket && !["redis:", "rediss:"].includes(url.protocol))) return FORM
  // What follows an unescaped / # or ? in a password is read as the path, the fragment or the query.
  if (!isSocket && (url.hash !== "" || `${url.pathname}${url.search}`.includes("@"))) return FORM
  if (!isDecodable(url.username + url.password)) return FORM
  const path = isSocket ? "" : url.pathname
  if (!/^\/?(\d+\/?)?$/.test(path) || !/^\d*$/.test(url.searchParams.get("db") ?? ""))
    return "must end with the number of a database, as in redis://host:6379/0, or with no database at all. A / in a password must be percent-encoded (%2F)"
  return undefined
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
