/** Certificates for tests, made by openssl. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { $ } from "bun"
import type { TlsFiles } from "./topologies.ts"

const CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

/** An authority in this directory, and certificates that it signs. */
export async function authority(dir: string, name = "ca") {
  const [ca, caKey] = [join(dir, `${name}.pem`), join(dir, `${name}.key`)]
  await $`openssl req -x509 ${CURVE} -days 2 -keyout ${caKey} -out ${ca} -subj /CN=${name}`.quiet()
  return {
    ca,
    /** For these names, such as `IP:127.0.0.1`. It has expired if `days` is negative. */
    async certificate(subject: string, names: string, days = 2): Promise<TlsFiles> {
      const [cert, key, request, extensions] = ["pem", "key", "csr", "ext"].map(kind =>
        join(dir, `${subject}.${kind}`),
      ) as [string, string, string, string]
      await writeFile(extensions, `subjectAltName=${names}\n`)
      await $`openssl req ${CURVE} -keyout ${key} -out ${request} -subj /CN=${subject}`.quiet()
      await $`openssl x509 -req -in ${request} -CA ${ca} -CAkey ${caKey} -CAcreateserial -out ${cert} -days ${days} -extfile ${extensions}`.quiet()
      return { ca, cert, key }
    },
  }
}
