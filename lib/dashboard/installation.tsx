/** The name and the color of this installation, which the broker writes into the page. */

const meta = document.querySelector<HTMLMetaElement>("meta[name=installation]")

export const installationName = meta?.content ?? "Task queue"

/** All that is colored takes the color from here. */
export function applyInstallation(): void {
  if (meta) document.documentElement.dataset.installation = meta.dataset.color ?? ""
}

const Mark = () => (
  <svg class="mark" viewBox="0 0 16 16" aria-hidden="true">
    <rect width="16" height="16" rx="4" />
    <path d="M4 5h8M4 8h8M4 11h5" />
  </svg>
)

/** `wide`: on narrow screens only the mark is shown, unless the installation has a name. */
export const Brand = () => (
  <>
    <Mark /> <span class={meta ? "installation" : "wide"}>{installationName}</span>
  </>
)
