/** Paging through items by name: the name of the last item on a page is the cursor of the next page. */

export interface NamePage {
  limit: number
  cursor?: string | undefined
}

/** Returns up to `limit` of `items`, which are sorted by name, after `cursor`. */
export function pageByName<Item>(
  items: readonly Item[],
  nameOf: (item: Item) => string,
  { limit, cursor = "" }: NamePage,
): { page: Item[]; next: string | undefined } {
  const remaining = items.filter(item => nameOf(item) > cursor)
  const page = remaining.slice(0, limit)
  return { page, next: remaining.length > limit ? nameOf(page.at(-1)!) : undefined }
}
