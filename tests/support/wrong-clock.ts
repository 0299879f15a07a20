/** Preloaded into a process to set its clock wrong by CLOCK_OFF_MS, as that of a machine without time synchronization. */
const offMs = Number(process.env.CLOCK_OFF_MS)
const RightDate = Date
const now = () => RightDate.now() + offMs

class WrongDate extends RightDate {
  constructor(...values: []) {
    super(...(values.length === 0 ? ([now()] as unknown as []) : values))
  }
  static override now = now
}

globalThis.Date = WrongDate as DateConstructor
Object.defineProperty(performance, "timeOrigin", { value: performance.timeOrigin + offMs })
