/** One Chromium for the tests of a file or a block, each of which fails if a page logs an error. */
import { afterAll, afterEach, expect, setDefaultTimeout } from "bun:test"
import { TestBrowser } from "./browser.ts"

export function sharedBrowser(): TestBrowser {
  // On a busy machine a page needs seconds, and some tests open a dozen.
  setDefaultTimeout(180_000)
  const browser = new TestBrowser()
  afterEach(() => expect(browser.faults.splice(0)).toEqual([]))
  afterAll(() => browser[Symbol.asyncDispose]())
  return browser
}
