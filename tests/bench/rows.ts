import type { Row } from "./row.ts"
import { batch } from "./rows/batch.ts"
import { brokers } from "./rows/brokers.ts"
import { burst } from "./rows/burst.ts"
import { bytes } from "./rows/bytes.ts"
import { fairness, groups } from "./rows/groups.ts"
import { idle } from "./rows/idle.ts"
import { latency } from "./rows/latency.ts"
import { life, lifeAlways, single, singleAlways } from "./rows/life.ts"
import { listening } from "./rows/listening.ts"
import { memory } from "./rows/memory.ts"
import { backlog, queues } from "./rows/scale.ts"
import { schedules } from "./rows/schedules.ts"
import { scrape } from "./rows/scrape.ts"
import { submit } from "./rows/submit.ts"
import { work } from "./rows/work.ts"

export const ROWS: readonly Row[] = [
  life,
  lifeAlways,
  single,
  singleAlways,
  ...[
    submit,
    work,
    brokers,
    listening,
    scrape,
    latency,
    bytes,
    backlog,
    queues,
    groups,
    fairness,
    idle,
    burst,
    schedules,
    batch,
    memory,
  ],
]
