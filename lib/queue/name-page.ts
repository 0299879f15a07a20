/** Paging through items by name: the name of the last item on a page is the cursor of the next page. */

export interface NamePage {
  limit: number
  cursor?: string | undefined
}

/**
 * Returns up to `limit` of `items`, which are sorted by name, after `cursor`. A page with at least one item also ends before
 * the first that does not fit.
 */
export function pageByName<Item>(
  items: readonly Item[],
  nameOf: (item: Item) => string,
  { limit, cursor = "" }: NamePage,
  fits: (item: Item) => boolean = () => true,
): { page: Item[]; next: string | undefined } {
  const remaining = items.filter(item => nameOf(item) > cursor)
  const end = remaining.slice(0, limit).findIndex((item, i) => !fits(item) && i > 0)
  const page = remaining.slice(0, end < 0 ? limit : end)
  return { page, next: remaining.length > page.length ? nameOf(page.at(-1)!) : undefined }
}
