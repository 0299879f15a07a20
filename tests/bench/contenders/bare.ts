/** The upper bound for /submit: Elysia in its own process, with exactly the requests that our broker gets. */
import { join } from "node:path"
import { Process } from "../../support/processes.ts"
import { inLanes, type Load } from "../contender.ts"
import { Connection } from "../http.ts"
import { submission } from "./ours.ts"

export async function startBare() {
  await using opened = new AsyncDisposableStack()
  const server = opened.use(new Process({ cmd: [process.execPath, join(import.meta.dir, "bare-server.ts")] }))
  const url = String((await server.logged("listens")).url)
  const request = submission("default", 1)
  const connections: Connection[] = []
  opened.defer(() => {
    for (const connection of connections) connection.close()
  })
  const opening = opened.move()
  return {
    name: "bare Elysia",
    servers: { elysia: server.pid },
    async submit(load: Load): Promise<void> {
      while (connections.length < load.lanes) connections.push(await Connection.open(url))
      await inLanes(load, async (_, lane) => {
        await connections[lane]!.send(request)
      })
    },
    [Symbol.asyncDispose]: () => opening.disposeAsync(),
  }
}
