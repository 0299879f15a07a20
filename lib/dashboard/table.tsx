/** Tables and their pagination. */
import type { ComponentChild } from "preact"
import { Icon } from "./icon.tsx"

interface Column<T> {
  head: string
  cell: (row: T) => ComponentChild
  /** Aligns the column to the right. */
  num?: boolean
  /** Hides the column on narrow screens. */
  wide?: boolean
  /** The column takes the width that the others leave; its text is cut off at the end of the line. */
  grow?: boolean
  /** The order of the rows that a click on the head asks for. */
  order?: string
}

/** On narrow screens each row is shown as a card with its first cell as the title. */
export function Table<T>(props: {
  label: string
  columns: readonly (Column<T> | false)[]
  rows: readonly T[]
  keyOf: (row: T) => string
  stale?: boolean
  /** The current order, and how to change it. */
  sorted?: { by: string; set: (order: string) => void }
}) {
  const { sorted } = props
  const columns = props.columns.filter(column => column !== false)
  const classOf = ({ num, wide, grow }: Column<T>) =>
    [num && "num", wide && "wide", grow && "grow"].filter(Boolean).join(" ")
  return (
    <table aria-label={props.label} class={props.stale ? "cards stale" : "cards"}>
      <thead>
        <tr>
          {columns.map(column => (
            <th
              key={column.head}
              scope="col"
              class={classOf(column)}
              aria-sort={
                column.order && column.order === sorted?.by
                  ? column.num
                    ? "descending"
                    : "ascending"
                  : undefined
              }
            >
              {column.order && sorted ? (
                <button type="button" class="sort" onClick={() => sorted.set(column.order!)}>
                  {column.head}
                </button>
              ) : (
                column.head || <span class="hidden">Actions</span>
              )}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map(row => (
          <tr key={props.keyOf(row)}>
            {columns.map(column => (
              <td key={column.head} data-label={column.head} class={classOf(column)}>
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}

/** Buttons for the previous and the next page. */
export function Pager(props: {
  cursors: readonly string[]
  next: string | undefined
  go: (to: readonly string[]) => void
}) {
  const { cursors, next, go } = props
  if (cursors.length === 0 && next === undefined) return null
  return (
    <nav class="pager" aria-label="Pages">
      <button type="button" disabled={cursors.length === 0} onClick={() => go(cursors.slice(0, -1))}>
        <Icon name="back" /> Previous page
      </button>
      <span class="dim">page {cursors.length + 1}</span>
      <button type="button" disabled={next === undefined} onClick={() => next && go([...cursors, next])}>
        Next page <Icon name="next" />
      </button>
    </nav>
  )
}
