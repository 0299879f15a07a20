/** A broker, as a process, that makes a page of /metrics at every scrape: where one may be a second old, none costs much. */

import { createLog } from "../../../lib/log.ts"
import { Metrics } from "../../../lib/observe/metrics.ts"
import { testBroker } from "../../support/harness.ts"

const [redis] = process.argv.slice(2)
const broker = await testBroker({}, redis, createLog("silent"), queue => new Metrics(queue, -1))
console.error(JSON.stringify({ message: "The broker is listening", url: broker.url }))
