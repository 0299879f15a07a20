/**
 * The address of a broker: how it is shown, and whether requests to it go through a proxy. Bun takes proxies from the
 * environment, so this file reads the same variables; the client also runs in programs without our configuration.
 */
/**
 * An address as log lines and errors show it: without user, password, query and fragment. A password may contain any
 * character, also in an address that cannot be parsed, so all that stands before the last @ is left out.
 */
export function shownUrl(url: string): string {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(url.trim())?.[0] ?? ""
  return (
    scheme +
    url
      .trim()
      .slice(scheme.length)
      .replace(/^.*@/s, "")
      .replace(/[?#].*$/s, "")
  )
}

/**
 * Makes `fetch` ask a loopback address directly, which Bun does not do by itself if HTTP_PROXY is set. No option of
 * `fetch` does that, but Bun reads NO_PROXY for each request.
 */
export function bypassProxy(url: string): void {
  const address = parseUrl(url)
  if (address === undefined || !isLoopback(address.hostname) || proxyInEnvironment(address) === undefined)
    return
  const { hostname } = address
  const entries = [process.env.NO_PROXY || process.env.no_proxy, hostname, hostname.replace(/^\[|\]$/g, "")]
  process.env.NO_PROXY = process.env.no_proxy = [...new Set(entries.filter(Boolean))].join(",")
}

/** The proxy that `fetch` uses for the address of a broker, according to the environment. */
export function proxyFor(url: string): string | undefined {
  const address = parseUrl(url)
  return address === undefined || isLoopback(address.hostname) ? undefined : proxyInEnvironment(address)
}

function proxyInEnvironment({ protocol, hostname, host }: URL): string | undefined {
  if (typeof process === "undefined") return undefined
  const { env } = process
  const ofProtocol =
    protocol === "https:" ? env.HTTPS_PROXY || env.https_proxy : env.HTTP_PROXY || env.http_proxy
  const proxy = ofProtocol || env.ALL_PROXY || env.all_proxy
  const exceptions = (env.NO_PROXY || env.no_proxy || "").split(",").map(entry => entry.trim())
  const isException = (entry: string) =>
    entry === "*" ||
    (entry !== "" && (entry === host || `.${hostname}`.endsWith(`.${entry.replace(/^\./, "")}`)))
  return proxy && !exceptions.some(isException) ? proxy : undefined
}

/** Also the unspecified address, by which a client reaches its own machine. `URL` writes ::ffff:127.0.0.1 in hex. */
const isLoopback = (hostname: string) =>
  /^((.*\.)?localhost\.?|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1?\]|\[::ffff:(7f..:.*|0:0)\])$/i.test(hostname)

function parseUrl(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined
}
