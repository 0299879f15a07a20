/** A panel with a long text, such as a payload or an error. */
import { useState } from "preact/hooks"
import { Icon } from "./icon.tsx"
import { formatBytes, SafeText, scrollable } from "./text.tsx"

const MAX_SHORT_CHARS = 20_000

const MAX_SHOWN_CHARS = 200_000

/** Shows the beginning of a long text. Copy and Save always use the whole text. */
export function TextBlock({
  label,
  text,
  short,
  name,
}: {
  label: string
  text: string
  short: string
  name: string
}) {
  const [all, setAll] = useState(false)
  const long = text.length > short.length
  const save = () => {
    const url = URL.createObjectURL(new Blob([text]))
    const link = document.createElement("a")
    link.href = url
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), 10_000)
  }
  return (
    <section class="panel block" aria-label={`${label} of the task`}>
      <header>
        <h2>{label}</h2>
        <span class="dim">{formatBytes(text.length)}</span>
        <span class="grow" />
        <CopyButton text={text} />
        {long && (
          <button type="button" class="quiet" onClick={save}>
            Save
          </button>
        )}
      </header>
      <pre {...scrollable(label)}>
        <SafeText text={all ? text.slice(0, MAX_SHOWN_CHARS) : short} most={MAX_SHOWN_CHARS} />
        {long && "…"}
      </pre>
      {long && !all && (
        <footer>
          <button type="button" class="quiet" onClick={() => setAll(true)}>
            <Icon name="more" />
            {text.length > MAX_SHOWN_CHARS ? `Show the first ${formatBytes(MAX_SHOWN_CHARS)}` : "Show all"}
          </button>
        </footer>
      )}
    </section>
  )
}

/** Browsers offer the clipboard only to pages from this machine or over TLS. */
export function CopyButton({ text, children = "Copy" }: { text: string; children?: string }) {
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard.writeText(text)
    setCopied(true)
    setTimeout(setCopied, 2_000, false)
  }
  return navigator.clipboard ? (
    <button type="button" class="quiet" onClick={copy}>
      {copied ? "Copied" : children}
    </button>
  ) : null
}

export const shorten = (text: string): string => text.slice(0, MAX_SHORT_CHARS)
