/** The whole life of tasks, from submit to ack, compared with other queues. */
import { type Contender, type Load, wholeLife } from "../contender.ts"
import { startBeanstalkd } from "../contenders/beanstalkd.ts"
import { startBeeQueue } from "../contenders/bee-queue.ts"
import { startBullMq } from "../contenders/bullmq.ts"
import { startGraphileWorker } from "../contenders/graphile-worker.ts"
import { startNats } from "../contenders/nats.ts"
import { Ours } from "../contenders/ours.ts"
import { startPgBoss } from "../contenders/pg-boss.ts"
import { against, lifeLine } from "../lines.ts"
import { alternate } from "../rounds.ts"
import { absent, type Row, type Run } from "../row.ts"
import { withAof } from "../settings.ts"

const everysec = withAof("everysec")
const always = withAof("always")

const batches = (quick: boolean): Load => ({ tasks: quick ? 8_000 : 64_000, perRequest: 100, lanes: 16 })
/** Fewer tasks if each write waits for the disk: beanstalkd with a sync per put reaches 3,000 per second. */
const synced = (quick: boolean): Load => ({ ...batches(quick), tasks: quick ? 3_200 : 32_000 })
const singles = (quick: boolean): Load => ({ tasks: quick ? 2_000 : 20_000, perRequest: 1, lanes: 64 })

/** Fewer tasks: the queues on PostgreSQL reach 1,300 per second. */
const syncedSingles = (quick: boolean): Load => ({ ...singles(quick), tasks: quick ? 1_000 : 6_000 })
const singleTitle = (fsync: string) => `whole life, one task per request, 64 in flight, appendfsync ${fsync}`

export const life: Row = {
  name: "life",
  title: "whole life, 100 per request, appendfsync everysec",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const ours = stack.use(await Ours.start({ redis: everysec }))
    const byWork = stack.use(ours.byWork())
    const bull = stack.use(await startBullMq(everysec))
    const bee = stack.use(await startBeeQueue(everysec))
    const beans = stack.use(await startBeanstalkd(50))
    const nats = stack.use(await startNats())
    const of = await linesOf(run, [ours, byWork, bull, bee, beans, nats], batches(run.quick))
    return [
      of(ours),
      of(byWork),
      against(of(bull), of(ours), 6),
      against(of(bee), of(ours), 2.3),
      beans === undefined ? absent("beanstalkd") : against(of(beans), of(ours), 1.2),
      nats === undefined ? absent("NATS JetStream") : against(of(nats), of(ours)),
    ]
  },
}

export const lifeAlways: Row = {
  name: "life-always",
  title:
    "whole life, 100 per request, appendfsync always (beanstalkd: -f 0; PostgreSQL: synchronous_commit on)",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const ours = stack.use(await Ours.start({ redis: always }))
    const bull = stack.use(await startBullMq(always))
    const bee = stack.use(await startBeeQueue(always))
    const beans = stack.use(await startBeanstalkd(0))
    const byWork = stack.use(ours.byWork())
    const relaxed = stack.use(await Ours.start({ redis: everysec, name: "ours, everysec" }))
    const boss = stack.use(await startPgBoss())
    const graphile = stack.use(await startGraphileWorker())
    const contenders = [ours, byWork, bull, bee, beans, boss, graphile, relaxed]
    const of = await linesOf(run, contenders, synced(run.quick))
    return [
      of(ours),
      of(byWork),
      against(of(bull), of(ours), 5.5),
      against(of(bee), of(ours), 2.3),
      beans === undefined ? absent("beanstalkd") : against(of(beans), of(ours), 1),
      boss === undefined ? absent("pg-boss") : against(of(boss), of(ours), 5),
      graphile === undefined ? absent("graphile-worker") : against(of(graphile), of(ours), 5),
      against(of(relaxed), of(ours), 0.85),
    ]
  },
}

export const single: Row = {
  name: "single",
  title: singleTitle("everysec"),
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const ours = stack.use(await Ours.start({ redis: everysec }))
    const byWork = stack.use(ours.byWork())
    const bull = stack.use(await startBullMq(everysec))
    const of = await linesOf(run, [ours, byWork, bull], singles(run.quick))
    return [of(ours), of(byWork), against(of(bull), of(ours), 1.15), against(of(bull), of(byWork), 1.4)]
  },
}

export const singleAlways: Row = {
  name: "single-always",
  title: singleTitle("always; PostgreSQL: synchronous_commit on"),
  long: true,
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const ours = stack.use(await Ours.start({ redis: always }))
    const byWork = stack.use(ours.byWork())
    const bull = stack.use(await startBullMq(always))
    const boss = stack.use(await startPgBoss())
    const graphile = stack.use(await startGraphileWorker())
    const of = await linesOf(run, [ours, byWork, bull, boss, graphile], syncedSingles(run.quick))
    return [
      of(ours),
      of(byWork),
      against(of(bull), of(ours), 1.15),
      against(of(bull), of(byWork), 1.4),
      boss === undefined ? absent("pg-boss") : against(of(boss), of(ours), 5),
      graphile === undefined ? absent("graphile-worker") : against(of(graphile), of(ours), 5),
    ]
  },
}

async function linesOf(run: Run, contenders: readonly (Contender | undefined)[], load: Load) {
  const turns = contenders
    .filter(contender => contender !== undefined)
    .map(contender => ({ name: contender.name, slice: () => wholeLife(contender, load) }))
  const slices = await alternate(run, turns)
  return (contender: { name: string }) => lifeLine(slices, contender)
}
