// Line charts: uPlot in the colours of the page, with bands, reference lines and labels at the right end.
// A chart is made once and drawn again with every state; it follows the width of its card and the colour scheme.

const FONT = '11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif';
const LABEL_GAP = 14;
const MOST_MARKS = 40;
const FEW_MARKS = 20;
const SECONDS_STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

const charts = new Set();

const paint = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function translucent(colour, alpha) {
  const parts = /^#(..)(..)(..)$/.exec(colour);
  return parts ? `rgba(${parts.slice(1).map((hex) => parseInt(hex, 16)).join(",")},${alpha})` : "transparent";
}

/**
 * A chart in ``host``; returns draw(data, extra).
 *
 * options: name (for those who cannot see it), x ("steps" or "seconds"), height in pixels, unit (above the axis),
 *   series: [{name, colour, width, dash, area, hidden, points, faint}], bands: [[upper, lower, colour]] (of series, 1 the first).
 * data: as uPlot wants it, [x, series, ...], null where there is nothing.
 * extra: {labels: [{y, text, short, colour, strong, italic, line}], marks: [{x}], arrows: [{x, from, to}],
 *   stairs: [{x, y}], late: whether the first values may lie above the chart, keys: [[kind, name]] (of what is not a series), say: what the chart shows, in one sentence, xMax,
 *   when: of which time the last values are, if not of now}.
 */
function lineChart(host, options) {
  const toneOf = (one) => (typeof one.colour === "function" ? one.colour() : one.colour);
  const holder = element("div", { class: "plot", role: "img" });
  const keys = element("div", { class: "keys" });
  host.append(keys, holder);
  let plot = null;
  let data = null;
  let extra = {};

  const series = () => [{}, ...options.series.map((one) => ({
    label: one.name,
    stroke: () => (one.hidden ? "transparent" : one.faint?.() ? translucent(paint("soft"), 0.4) : paint(toneOf(one))),
    width: one.hidden ? 0 : one.width ?? 2,
    dash: one.dash,
    fill: one.area ? translucent(paint(toneOf(one)), 0.14) : undefined,
    spanGaps: !one.gaps,
    points: { show: !one.hidden && !!one.points && (list(data?.[0]).length <= 40), size: 6, fill: paint(toneOf(one)) },
  }))];

  function make() {
    plot?.destroy();
    const width = Math.max(200, Math.floor(holder.clientWidth));
    plot = new uPlot({
      width,
      height: options.height ?? 260,
      padding: [24, (self) => labelWidth(self), 4, 4],
      legend: { show: false },
      cursor: {
        drag: { x: false, y: false },
        y: false,
        points: { size: 7, show: (self, i) => (options.series[i - 1].hidden ? undefined : dot(self, i)) },
      },
      scales: {
        x: { time: false, range: () => xLimits() },
        y: { range: () => yLimits() },
      },
      axes: [xAxis(options.x), yAxis()],
      series: series(),
      bands: list(options.bands).map(([upper, lower, colour]) => ({
        series: [upper, lower], fill: translucent(paint(colour), 0.18),
      })),
      hooks: { draw: [decorate], setCursor: [(self) => writeKeys(self.cursor.idx)] },
    }, data, holder);
  }

  function dot(self, i) {
    return element("div", { class: `point ${toneOf(options.series[i - 1])}` });
  }

  /** From the start of the run to the last value; before there is a second one, to the end of the run. */
  function xLimits() {
    const last = Math.max(0, ...data[0], ...[...list(extra.marks), ...list(extra.arrows)].map((mark) => mark.x));
    return [0, last || extra.xMax || 1];
  }

  function yLimits() {
    const values = data.slice(1).flatMap((column) => known(list(column).slice(extra.late ? 1 : 0)));
    for (const label of list(extra.labels)) values.push(label.y);
    for (const stair of list(extra.stairs)) values.push(stair.y);
    for (const arrow of list(extra.arrows)) values.push(arrow.to, ...(extra.late && arrow.x <= data[0][0] ? [] : [arrow.from]));
    const low = values.length ? values.reduce((a, b) => Math.min(a, b)) : 0;
    const high = values.length ? values.reduce((a, b) => Math.max(a, b)) : 1;
    const margin = 0.06 * (high - low) || Math.max(options.least ?? 1, 0.1 * Math.abs(high));
    return [low >= 0 && (low <= 0.4 * high || options.zero) ? 0 : low - margin, high + margin];
  }

  /** Room for the labels at the right end, at most two fifths of the chart. */
  function labelWidth(self) {
    const labels = list(extra.labels);
    if (!labels.length) return 14;
    const context = holder.measure ??= document.createElement("canvas").getContext("2d");
    const narrow = self.width < 480;
    const widest = Math.max(...labels.map((label) => {
      context.font = fontOf(label);
      return context.measureText(narrow ? label.short ?? label.text : label.text).width;
    }));
    return Math.min(widest + 26, self.width * 0.4);
  }

  function decorate(self) {
    const { ctx, bbox } = self;
    const ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.scale(ratio, ratio);
    const box = { left: bbox.left / ratio, top: bbox.top / ratio, right: (bbox.left + bbox.width) / ratio,
      bottom: (bbox.top + bbox.height) / ratio };
    const at = (axis, value) => self.valToPos(value, axis) + (axis === "x" ? box.left : box.top);
    const first = extra.late ? extremes(data.slice(1).map((column) => column[0]))?.high : null;
    const above = first > self.scales.y.max ? `; at the start up to ${quantity(first)}` : "";
    text(ctx, `${options.unit}${above}`, 4, box.top - 12, paint("soft"), FONT);
    const every = markEvery(list(extra.marks));
    for (const { x } of list(extra.marks).filter((_, i) => i % every === 0)) stroke(ctx, [[at("x", x), box.top], [at("x", x), box.bottom]], translucent(paint("soft"), 0.3), 1);
    drawStairs(ctx, list(extra.stairs), at, box);
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.left - 5, box.top, box.right - box.left + 10, box.bottom - box.top + 5);
    ctx.clip();
    drawArrows(ctx, list(extra.arrows), at);
    ctx.restore();
    drawLabels(ctx, list(extra.labels), at, box, self.width);
    ctx.restore();
  }

  function writeKeys(index) {
    const at = index ?? null;
    const shown = options.series.map((one, i) => ({ ...one, i: i + 1 })).filter((one) => one.name && !one.hidden);
    keys.hidden = !shown.length && !list(extra.keys).length && at === null;
    const where = at === null ? extra.when ?? "" : options.x === "steps" ? `at ${count(data[0][at])} steps` : `after ${duration(data[0][at])}`;
    const say = (one) => {
      const column = list(data?.[one.i]);
      const value = at === null ? lastOf(column) : column[at] ?? null;
      return (options.say ?? quantity)(value);
    };
    fill(keys, [where, shown.map(say), list(extra.keys)], () => [
      ...shown.map((one) => element("span", {}, [
        element("span", { class: `key ${one.colour}${one.dash ? " dashed" : ""}` }, one.name), " ", element("b", {}, say(one)),
      ])),
      ...list(extra.keys).map(([kind, name]) => element("span", { class: `key ${kind}` }, name)),
      element("span", { class: "where" }, where),
    ]);
  }

  const chart = {
    draw(newData, newExtra = {}) {
      data = newData;
      extra = newExtra;
      holder.setAttribute("aria-label", `${options.name}. ${extra.say ?? ""}`);
      if (!plot) make();
      else plot.setData(data);
      writeKeys(plot.cursor.idx ?? null);
    },
    remake: () => data && make(),
    resize() {
      const width = Math.max(200, Math.floor(holder.clientWidth));
      if (plot && width !== plot.width) plot.setSize({ width, height: plot.height });
    },
    remove() {
      plot?.destroy();
      charts.delete(chart);
      keys.remove();
      holder.remove();
    },
  };
  charts.add(chart);
  new ResizeObserver(() => chart.resize()).observe(holder);
  return chart;
}

function lastOf(column) {
  for (let i = column.length - 1; i >= 0; i--) if (number(column[i]) !== null) return column[i];
  return null;
}

/** Of so many marks one is drawn: all of many would be a grey wall, or look like a series of their own. */
const markEvery = (marks) => (marks.length > MOST_MARKS ? Math.ceil(marks.length / FEW_MARKS) : 1);

function axis() {
  return { stroke: paint("soft"), font: FONT, ticks: { show: false }, border: { show: false } };
}

function xAxis(kind) {
  const scale = kind === "seconds" ? { incrs: SECONDS_STEPS, values: (self, splits) => splits.map(clock) }
    : { incrs: [1, 2, 5].flatMap((digit) => [...Array(10).keys()].map((power) => digit * 10 ** power)).sort((a, b) => a - b),
      values: (self, splits) => splits.map(shortCount) };
  const name = { seconds: "time into the run", steps: "steps per agent" }[kind];
  return { ...axis(), ...scale, grid: { show: false }, space: (self) => (self.width < 480 ? 40 : 60), size: 24, gap: 6, label: name, labelSize: 20, labelGap: 0, labelFont: FONT };
}

function yAxis() {
  return {
    ...axis(),
    grid: { stroke: paint("grid"), width: 1 },
    values: (self, splits) => splits.map((value) => shortCount(value).replace("-", "−")),
    size: (self, values) => 16 + 7 * Math.max(2, ...list(values).map((value) => String(value).length)),
    gap: 6,
    space: 36,
  };
}

// --- on the canvas, in CSS pixels --------------------------------------------------------------------------

const fontOf = (label) => `${label.italic ? "italic " : ""}${label.strong ? "650 " : ""}${FONT}`;

function text(ctx, words, x, y, colour, font, widest) {
  ctx.font = font;
  ctx.fillStyle = colour;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  ctx.fillText(words, x, y, widest);
}

function stroke(ctx, points, colour, width, dash = []) {
  ctx.beginPath();
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.setLineDash(dash);
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Lines across the chart, and their names at the right end, pushed apart until all can be read. */
function drawLabels(ctx, labels, at, box, width) {
  const placed = labels.map((label) => ({ ...label, from: at("y", label.y), to: at("y", label.y) }))
    .filter((label) => label.from >= box.top - 1 && label.from <= box.bottom + 1)
    .sort((a, b) => a.from - b.from);
  for (const label of placed) {
    const dash = label.italic ? [1.5, 3] : [6, 4];
    if (label.line) stroke(ctx, [[box.left, label.from], [box.right, label.from]], paint(label.colour), 1.1, dash);
  }
  for (let i = 1; i < placed.length; i++) placed[i].to = Math.max(placed[i].to, placed[i - 1].to + LABEL_GAP);
  let floor = box.bottom + 4;
  for (let i = placed.length - 1; i >= 0; i--) {
    placed[i].to = Math.min(placed[i].to, floor);
    floor = placed[i].to - LABEL_GAP;
  }
  for (const label of placed) {
    const colour = paint(label.colour);
    stroke(ctx, [[box.right + 1, label.from], [box.right + 7, label.from], [box.right + 14, label.to], [box.right + 18, label.to]], translucent(colour, 0.6), 1);
    text(ctx, width < 480 ? label.short ?? label.text : label.text, box.right + 21, label.to, colour, fontOf(label), width - box.right - 22);
  }
}

/** What each refresh did, as an arrow from before to after; without heads where they would hide each other. */
function drawArrows(ctx, arrows, at) {
  const heads = arrows.length <= MOST_MARKS;
  for (const { x, from, to } of arrows) {
    const [column, start, end] = [at("x", x), at("y", from), at("y", to)];
    const colour = paint("c2");
    stroke(ctx, [[column, start], [column, end]], colour, heads ? 2 : 1);
    ctx.fillStyle = colour;
    if (!heads) continue;
    ctx.beginPath();
    ctx.arc(column, start, 2.5, 0, 7);
    ctx.fill();
    if (Math.abs(end - start) < 5) continue;
    const back = 6 * Math.sign(end - start);
    ctx.beginPath();
    ctx.moveTo(column, end);
    ctx.lineTo(column - 3.5, end - back);
    ctx.lineTo(column + 3.5, end - back);
    ctx.fill();
  }
}

/** A value that holds until the next one, to the right end. */
function drawStairs(ctx, stairs, at, box) {
  const points = [];
  for (const { x, y } of stairs) {
    if (points.length) points.push([at("x", x), points[points.length - 1][1]]);
    points.push([at("x", x), at("y", y)]);
  }
  if (points.length) stroke(ctx, [...points, [box.right, points[points.length - 1][1]]], paint("soft"), 1.3, [6, 4]);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.remake()));
