/** The path before that of the page: a proxy may serve the broker under a prefix. */
export const BASE = location.pathname.replace(/\/dashboard\/?$/, "")
