/** Answers with the files of the pages /dashboard and /swagger, under one Content-Security-Policy. */

const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

export interface StaticFile {
  body: Uint8Array<ArrayBuffer> | Blob | string
  /** The same body compressed, for browsers that accept gzip. */
  gzipped?: Uint8Array<ArrayBuffer>
  contentType: string
  cacheControl: string
}

export function staticAnswer(request: Request, file: StaticFile): Response {
  const headers = new Headers({
    "content-type": file.contentType,
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": file.cacheControl,
  })
  if (file.gzipped === undefined) return new Response(file.body, { headers })
  headers.set("vary", "accept-encoding")
  if (!/\bgzip\b/.test(request.headers.get("accept-encoding") ?? ""))
    return new Response(file.body, { headers })
  headers.set("content-encoding", "gzip")
  return new Response(file.gzipped, { headers })
}
