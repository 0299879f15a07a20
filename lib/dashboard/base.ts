/** The path before that of the page: a proxy may serve the broker under a prefix. */
export const BASE = location.pathname.replace(/\/dashboard\/?$/, "")

/** The address of the broker for commands that people copy. */
export const BROKER_URL = location.origin + BASE
