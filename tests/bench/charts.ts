/** Draws charts as SVG with their own background, so that they are readable on light and dark pages. */
import { LineChart } from "echarts/charts"
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components"
import { init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"
import type { Chart } from "./row.ts"

use([LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

export function draw({ title, x, y }: Chart, series: ReturnType<Chart["series"]>): string {
  const chart = init(null, null, { renderer: "svg", ssr: true, width: 760, height: 420 })
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    title: { text: title, left: 16, top: 10, textStyle: { fontSize: 15 } },
    legend: { top: 38, left: 16 },
    grid: { left: 80, right: 30, top: 90, bottom: 55 },
    xAxis: { type: "log", name: x, nameLocation: "middle", nameGap: 32 },
    yAxis: { type: "value", name: y, min: 0 },
    series: Object.entries(series).map(([name, data]) => ({ type: "line", name, data, symbolSize: 6 })),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
