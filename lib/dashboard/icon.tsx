/** Icons drawn as single paths. */
const ICONS = {
  more: "M4 6l4 4 4-4",
  pause: "M6 4v8M10 4v8",
  play: "M5 4l7 4-7 4z",
  gear: "M3 5h6M12 5h1M3 11h1M7 11h6M10.5 3.5v3M5.5 9.5v3",
  trash: "M3 5h10M6 5V3h4v2M5 5l.6 8h4.8L11 5",
  retry: "M12.5 8A4.5 4.5 0 1 1 11 4.6M11 2v3H8",
  close: "M4 4l8 8M12 4l-8 8",
  back: "M10 4L6 8l4 4",
  next: "M6 4l4 4-4 4",
} as const

export const Icon = ({ name }: { name: keyof typeof ICONS }) => (
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
    <path d={ICONS[name]} />
  </svg>
)
