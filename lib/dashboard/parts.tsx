/** Small elements that all views share. */
import { type ComponentChild, type ComponentChildren, Fragment } from "preact"
import { escapeInvisible, SafeText } from "./text.tsx"
export const Skeleton = ({ rows = 4 }: { rows?: number }) => (
  <div class="skeleton" role="status" aria-label="Loading">
    {Array.from({ length: rows }, (_, i) => (
      <i key={i} />
    ))}
  </div>
)

type ShownProblem = Error & { detail?: string | undefined; status?: number }

/** What does not exist or may not be seen is no alarm. */
export const ProblemNote = ({ problem }: { problem: ShownProblem }) => (
  <div class={problem.status === 403 || problem.status === 404 ? "note" : "trouble"} role="alert">
    <strong>
      <SafeText text={problem.message} most={300} />
    </strong>
    {problem.detail && problem.detail !== problem.message && (
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
/** If there is too little room, the queue at the beginning of the id is cut off first. */
export function TaskLink({ id }: { id: string }) {
  const colon = id.lastIndexOf(":") + 1
  return (
    <a class="mono id" href={`#/tasks/${encodeURIComponent(id)}`} title={escapeInvisible(id)}>
      <span>
        <SafeText text={id.slice(0, colon)} most={70} />
      </span>
      <span>
        <SafeText text={id.slice(colon)} most={140} />
      </span>
    </a>
  )
}
export const QueueLink = ({ queue }: { queue: string }) => (
  <a class="name" href={`#/queues/${encodeURIComponent(queue)}`} title={escapeInvisible(queue)}>
    <SafeText text={queue} most={64} />
  </a>
)

export const FactList = ({
  facts,
}: {
  facts: readonly (readonly [name: string, value: ComponentChild])[]
}) => (
  <dl class="panel facts">
    {facts.map(([name, value]) => (
      <Fragment key={name}>
        <dt>{name}</dt>
        <dd>{value}</dd>
      </Fragment>
    ))}
  </dl>
)
