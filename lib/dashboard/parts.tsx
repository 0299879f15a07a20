/** Small elements that all views share. */
import type { ComponentChildren } from "preact"
import { escapeInvisible, SafeText } from "./text.tsx"
export const Skeleton = ({ rows = 4 }: { rows?: number }) => (
  <div class="skeleton" role="status" aria-label="Loading">
    {Array.from({ length: rows }, (_, i) => (
      <i key={i} />
    ))}
  </div>
)

export const ProblemNote = ({ problem }: { problem: Error & { detail?: string | undefined } }) => (
  <div class="trouble" role="alert">
    <strong>
      <SafeText text={problem.message} most={300} />
    </strong>
    {problem.detail && (
      <p>
        <SafeText text={problem.detail} most={600} />
      </p>
    )}
  </div>
)

export const Empty = ({ title, children }: { title: string; children?: ComponentChildren }) => (
  <div class="empty">
    <h2>{title}</h2>
    {children}
  </div>
)

export const Badge = ({ of, children }: { of: string; children?: ComponentChildren }) => (
  <span class={`badge ${of}`}>{children ?? of}</span>
)
export const TaskLink = ({ id }: { id: string }) => (
  <a class="mono id" href={`#/tasks/${encodeURIComponent(id)}`} title={escapeInvisible(id)}>
    <SafeText text={id} most={140} />
  </a>
)
export const QueueLink = ({ queue }: { queue: string }) => (
  <a class="name" href={`#/queues/${encodeURIComponent(queue)}`}>
    <SafeText text={queue} most={64} />
  </a>
)
