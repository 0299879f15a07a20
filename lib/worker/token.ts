/** The token a worker presents: API_SECRET_TOKEN, else the one that a broker on this machine left in its data directory. */
import { join } from "node:path"
import type { WorkerConfig } from "../config/config.ts"
import type { Log } from "../log.ts"
import { pause } from "../pause.ts"

const POLL_MS = 500

export class Token {
  #value = ""
  private constructor(private readonly file: string | undefined) {}

  get value(): string {
    return this.#value
  }

  /** Waits for the file where it is needed and not there yet; undefined where the signal fires first. */
  static async find(
    { apiToken, dataDir }: Pick<WorkerConfig, "apiToken" | "dataDir">,
    log: Log,
    signal: AbortSignal,
  ): Promise<Token | undefined> {
    const token = new Token(apiToken === undefined ? join(dataDir, "token") : undefined)
    token.#value = apiToken ?? ""
    for (let told = false; !signal.aborted; told = true) {
      if (await token.refresh()) return token
      if (!told)
        log.info(
          `Waiting for ${token.file}, which a broker on this machine creates when it starts. ` +
            "For a broker on another machine, set API_SECRET_TOKEN to its token and BROKER_URL to its address",
        )
      await pause(POLL_MS, signal)
    }
    return undefined
  }

  /** Reads the file again, as a broker may have made a new token. Answers whether there is a token. */
  async refresh(): Promise<boolean> {
    if (this.file === undefined) return true
    // Missing, half written or not readable for us: what we have stays.
    const text = await Bun.file(this.file)
      .text()
      .catch(() => "")
    if (text.trim() !== "") this.#value = text.trim()
    return this.#value !== ""
  }
}
