/** beanstalkd with its binlog, over its text protocol on a Unix socket. `perRequest` commands are pipelined. */
import { stat } from "node:fs/promises"
import type { Socket } from "bun"
import { Process, until } from "../../support/processes.ts"
import { type Contender, inLanes, PAYLOAD } from "../contender.ts"
import { scratchDirectory } from "../scratch.ts"

/** Interval of binlog syncs: `-f`. The default is 50 ms; 0 means after each write. */
export async function startBeanstalkd(fsyncMs: number): Promise<Contender | undefined> {
  if (Bun.which("beanstalkd") === null) return undefined
  await using opened = new AsyncDisposableStack()
  const dir = scratchDirectory()
  const socket = `${dir}/socket`
  const cmd = ["beanstalkd", "-b", dir, "-f", `${fsyncMs}`, "-l", `unix:${socket}`]
  const server = opened.use(new Process({ cmd }))
  await until("beanstalkd listens", () => stat(socket).catch(() => undefined))
  const opening = opened.move()
  const data = JSON.stringify(PAYLOAD)
  const put = `put 0 0 120 ${data.length}\r\n${data}\r\n`
  const connections: Pipeline[] = []
  const connect = async (lanes: number) => {
    while (connections.length < lanes) connections.push(await Pipeline.open(socket))
  }
  return {
    name: "beanstalkd",
    servers: { beanstalkd: server.pid },

    async submit(load) {
      await connect(load.lanes)
      await inLanes(load, async (count, lane) => {
        const answer = await connections[lane]!.send(put.repeat(count), count)
        if (!answer.startsWith("INSERTED")) throw new Error(`beanstalkd answered ${answer.slice(0, 100)}`)
      })
    },

    async work(load) {
      await connect(load.lanes)
      await inLanes(load, async (count, lane) => {
        const connection = connections[lane]!
        const jobs = await connection.send("reserve-with-timeout 5\r\n".repeat(count), count * 2)
        let deletes = ""
        for (let at = jobs.indexOf("RESERVED "); at >= 0; at = jobs.indexOf("RESERVED ", at + 9))
          deletes += `delete ${jobs.slice(at + 9, jobs.indexOf(" ", at + 9))}\r\n`
        const answer = await connection.send(deletes, count)
        if (answer.length !== "DELETED\r\n".length * count) throw new Error(`beanstalkd answered ${answer}`)
      })
    },

    async [Symbol.asyncDispose]() {
      for (const connection of connections) connection.close()
      await opening.disposeAsync()
    },
  }
}

/** A connection that sends many commands at once and waits for the given number of lines. */
class Pipeline {
  #socket!: Socket
  #unsent: Buffer | undefined
  #text = ""
  #linesLeft = 0
  #answered: (text: string) => void = () => {}

  static async open(path: string): Promise<Pipeline> {
    const pipeline = new Pipeline()
    pipeline.#socket = await Bun.connect({
      unix: path,
      socket: {
        data: (_, chunk) => pipeline.#read(chunk),
        drain: () => pipeline.#write(pipeline.#unsent),
      },
    })
    return pipeline
  }

  send(commands: string, lines: number): Promise<string> {
    this.#linesLeft = lines
    return new Promise(resolve => {
      this.#answered = resolve
      this.#write(Buffer.from(commands))
    })
  }

  close(): void {
    this.#socket.end()
  }

  #write(bytes: Buffer | undefined): void {
    if (bytes === undefined) return
    const written = this.#socket.write(bytes)
    this.#unsent = written < bytes.length ? bytes.subarray(Math.max(0, written)) : undefined
  }

  #read(chunk: Buffer): void {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) this.#linesLeft--
    this.#text += chunk.toString("latin1")
    if (this.#linesLeft > 0) return
    const text = this.#text
    this.#text = ""
    this.#answered(text)
  }
}
