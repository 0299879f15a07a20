/** The dashboard of a broker with a Redis of its own, in one Chromium, for the tests of a block. */
import { afterAll, beforeAll } from "bun:test"
import type { BrokerConfig } from "../../lib/config/config.ts"
import type { Look, TestPage } from "./browser.ts"
import { type TestBroker, TOKEN, testBroker } from "./harness.ts"
import { testRedis } from "./redis.ts"
import { sharedBrowser } from "./shared-browser.ts"

/** No lease may end while a test looks at its task: on a busy machine that takes long. */
export const LEASE_MS = 3_600_000

export class TestDashboard {
  readonly browser = sharedBrowser()
  /** The address of the Redis. */
  socket = ""
  #broker: TestBroker | undefined

  constructor(overrides: Partial<BrokerConfig> = {}) {
    const resources = new AsyncDisposableStack()
    beforeAll(async () => {
      this.socket = resources.use(await testRedis()).socket
      this.#broker = resources.use(
        await testBroker({ visibilityTimeoutMs: LEASE_MS, ...overrides }, this.socket),
      )
    })
    afterAll(() => resources.disposeAsync())
  }

  get broker(): TestBroker {
    return this.#broker!
  }

  /** A page that is signed in, at the view that the hash names. */
  readonly signedIn = (hash: string, look: Look = {}, token = TOKEN): Promise<TestPage> =>
    this.browser.signedIn(this.broker.url, hash, token, look)

  /** Opens another view in a page. */
  readonly goTo = async ({ page }: TestPage, hash: string): Promise<void> => {
    await page.goto(`${this.broker.url}/dashboard${hash}`)
  }

  /** Sends a request that must succeed. */
  readonly call = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const answer = await this.broker.call(method, path, body)
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${text}`)
    return (text === "" ? undefined : JSON.parse(text)) as T
  }
}
