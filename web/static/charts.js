// Turns a drawn chart into one that zooms: drag across to look closer, double-click to see everything again. The SVG
// that the server drew stays for reading, printing and for browsers without scripts.
"use strict";

const token = (name) => {
  const probe = document.createElement("i");
  probe.className = `ink-${name}`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
};

const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);

function draw(box) {
  const { at, series } = JSON.parse(box.dataset.series);
  const stacked = [];
  series.forEach((line, i) => stacked.push(line.values.map((value, j) => value + (i ? stacked[i - 1][j] : 0))));
  const axis = { stroke: token("axis"), grid: { stroke: token("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const bars = window.uPlot.paths.bars({ size: [0.8, 24] });
  const shown = series.map((line, i) => ({
    label: line.name,
    fill: token(line.ink),
    width: 0,
    paths: bars,
    points: { show: false },
    value: (_plot, _value, _series, index) => (index == null ? "–" : String(line.values[index])),
    data: stacked[i],
  })).reverse();
  box._plot?.destroy();
  box._plot = new window.uPlot(
    {
      width: box.clientWidth,
      height: 216,
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: true }, y: { range: (_plot, _low, high) => [0, Math.max(high, 4)] } },
      axes: [{ ...axis, values: (_plot, splits) => splits.map(clock) }, { ...axis, size: 44 }],
      series: [{ label: "UTC", value: (_plot, seconds) => (seconds == null ? "–" : clock(seconds)) }, ...shown.map(({ data, ...line }) => line)],
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    },
    [at, ...shown.map((line) => line.data)],
    box,
  );
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  const chart = document.getElementById(button.dataset.zoom);
  const box = chart.querySelector("[data-series]");
  const zooming = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(zooming));
  chart.querySelector(".drawn").hidden = zooming;
  box.hidden = !zooming;
  if (zooming) draw(box);
});
window.addEventListener("resize", () => {
  for (const box of document.querySelectorAll("[data-series]:not([hidden])")) box._plot?.setSize({ width: box.clientWidth, height: 216 });
});
document.addEventListener("themechange", () => {
  for (const box of document.querySelectorAll("[data-series]:not([hidden])")) draw(box);
});
