/** Tasks as the JSON text of a submit, and as a command for a shell. Payloads stay exactly as they are. */
import type { TaskView } from "../wire/inspecting.ts"

/** The body of a submit. Absent members are left out. `payload`: JSON text. */
export function submitText(members: Record<string, unknown>, payload: string | undefined): string {
  const text = JSON.stringify(members)
  if (payload === undefined) return text
  return `${text.slice(0, -1)}${text === "{}" ? "" : ","}"payload":${payload}}`
}

/** What a submit of a task like this one contains. Its id, unique key and start are left out, so each submit creates a task. */
function membersOfSubmit(task: TaskView): Record<string, unknown> {
  const { type, queue, priority, max_retries, max_crashes, timeout_ms, max_runtime_ms, expires_at } = task
  const { result_ttl_ms, backoff, group, meta, redact, created_at } = task
  const expires_in_ms = expires_at === undefined ? undefined : expires_at - created_at
  const limits = {
    max_retries,
    max_crashes,
    timeout_ms,
    max_runtime_ms,
    expires_in_ms,
    result_ttl_ms,
    backoff,
  }
  return { type, queue, priority, ...limits, group, meta, redact }
}

/** A text as one word for a POSIX shell: nothing is special between single quotes but the quote itself. */
export const shellWord = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** For a shell, as one word. Without the variable: the token that a broker on this machine created. */
export const TOKEN_HEADER = `"X-API-Token: \${API_SECRET_TOKEN:-$(cat .data/token)}"`

/** Programs get an argument of at most 128 KB on Linux. */
const MAX_ARGUMENT_BYTES = 120_000

/** A curl command that submits the task again; undefined if its payload is too large for a command. */
export function curlOf(task: TaskView, payload: string, broker: string): string | undefined {
  const body = shellWord(submitText(membersOfSubmit(task), payload))
  if (new TextEncoder().encode(body).length > MAX_ARGUMENT_BYTES) return undefined
  return `curl -sS ${shellWord(`${broker}/submit`)} -H ${TOKEN_HEADER} -H 'Content-Type: application/json' --data-raw ${body}`
}

/** Reads labels, one `name=value` per line. Throws an error that says which line is wrong. */
export function readLabels(text: string): Record<string, string> {
  const labels: [string, string][] = []
  for (const line of text.split("\n").filter(line => line.trim() !== "")) {
    const at = line.indexOf("=")
    if (at < 1)
      throw new Error(`A label must be written as name=value, not ${JSON.stringify(line.slice(0, 80))}`)
    labels.push([line.slice(0, at).trim(), line.slice(at + 1)])
  }
  return Object.fromEntries(labels)
}

export const writeLabels = (meta: Readonly<Record<string, string>> = {}): string =>
  Object.entries(meta)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n")
