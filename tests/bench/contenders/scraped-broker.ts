/** A broker process that renders /metrics at every scrape. By default the page is cached for a second, which would hide its cost. */

import { createLog } from "../../../lib/log.ts"
import { Metrics } from "../../../lib/observe/metrics.ts"
import { testBroker } from "../../support/harness.ts"

const [redis] = process.argv.slice(2)
const broker = await testBroker({}, redis, createLog("silent"), queue => new Metrics(queue, -1))
console.error(JSON.stringify({ message: "The broker is listening", url: broker.url }))
