import { useState } from "preact/hooks"
import { Icon } from "./icon.tsx"
import { bytes, Shown, scrolls } from "./text.tsx"

export const SHORT = 20_000

export const LONG = 200_000

/** A block of text, cut where it is long: all of a longer one is there to be copied or saved. */
export function Block({
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
  const [copied, setCopied] = useState(false)
  const long = text.length > short.length
  const save = () => {
    const url = URL.createObjectURL(new Blob([text]))
    const link = document.createElement("a")
    link.href = url
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(url), 10_000)
  }
  const copy = async () => {
    await navigator.clipboard?.writeText(text)
    setCopied(true)
    setTimeout(setCopied, 2_000, false)
  }
  return (
    <section class="panel block" aria-label={`${label} of the task`}>
      <header>
        <h2>{label}</h2>
        <span class="dim">{bytes(text.length)}</span>
        <span class="grow" />
        {navigator.clipboard && (
          <button type="button" class="quiet" onClick={copy}>
            {copied ? "Copied" : "Copy"}
          </button>
        )}
        {long && (
          <button type="button" class="quiet" onClick={save}>
            Save
          </button>
        )}
      </header>
      <pre {...scrolls(label)}>
        <Shown text={all ? text.slice(0, LONG) : short} most={LONG} />
        {long && "…"}
      </pre>
      {long && !all && (
        <footer>
          <button type="button" class="quiet" onClick={() => setAll(true)}>
            <Icon name="more" />
            {text.length > LONG ? `Show the first ${bytes(LONG)}` : "Show all"}
          </button>
        </footer>
      )}
    </section>
  )
}

export const shortOf = (text: string): string => text.slice(0, SHORT)
