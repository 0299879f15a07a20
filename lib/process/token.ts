/** The token that a worker, `top` or `tq` sends: API_SECRET_TOKEN, or else the one that a broker on this machine wrote to DATA_DIR. */
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

  /** Like `find`, but does not wait. Returns undefined if there is no token. */
  static async read({
    apiToken,
    dataDir,
  }: Pick<WorkerConfig, "apiToken" | "dataDir">): Promise<string | undefined> {
    const token = new Token(join(dataDir, "token"))
    return apiToken ?? ((await token.refresh()) ? token.value : undefined)
  }

  /** Waits for the file if it is needed and does not exist yet. Returns undefined if the signal fires first. */
  static async find(
    { apiToken, dataDir }: Pick<WorkerConfig, "apiToken" | "dataDir">,
    log: Log,
    signal: AbortSignal,
  ): Promise<Token | undefined> {
    const token = new Token(apiToken === undefined ? join(dataDir, "token") : undefined)
    token.#value = apiToken ?? ""
    for (let logged = false; !signal.aborted; logged = true) {
      if (await token.refresh()) return token
      if (!logged)
        log.info(
          `Waiting for ${token.file}, which a broker on this machine creates when it starts without API_SECRET_TOKEN. ` +
            "For any other broker, set API_SECRET_TOKEN to its token and BROKER_URL to its address",
        )
      await pause(POLL_MS, signal)
    }
    return undefined
  }

  /** Reads the file again, because a broker may have created a new token. Returns whether there is a token. */
  async refresh(): Promise<boolean> {
    if (this.file === undefined) return true
    // If the file is missing, incomplete or unreadable, keep the current token.
    const text = await Bun.file(this.file)
      .text()
      .catch(() => "")
    if (text.trim() !== "") this.#value = text.trim()
    return this.#value !== ""
  }
}
