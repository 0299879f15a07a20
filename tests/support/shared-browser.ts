/** One Chromium for the tests of a file or a block, each of which fails if a page logs an error. */
import { afterAll, afterEach, expect } from "bun:test"
import { TestBrowser } from "./browser.ts"

export function sharedBrowser(): TestBrowser {
  const browser = new TestBrowser()
  afterEach(() => expect(browser.faults.splice(0)).toEqual([]))
  afterAll(() => browser[Symbol.asyncDispose]())
  return browser
}
