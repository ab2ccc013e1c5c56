// Agent by agent: thin lines while they can be told apart, a map of agents by evaluations when there are more.

const MOST_LINES = 25;
const FEW_LINES = 8;
const MAP_LEFT = 34;

/** Draws the per-agent values of every evaluation into ``host``; returns draw(evaluations, key, words). */
function agentsView(host) {
  let view = null;
  let kind = "";

  /** ``rows``: evaluations in order, those with values; ``key``: which; ``words``: {name, unit, high}. */
  return function draw(rows, key, words) {
    const columns = rows.map((row) => list(row[key]).map(number));
    const agents = Math.max(...columns.map((column) => column.length));
    const wanted = `${agents > MOST_LINES ? "map" : "lines"} ${agents} ${key}`;
    if (kind !== wanted) {
      view?.remove();
      view = agents > MOST_LINES ? heatMap(host) : agentLines(host, agents, words);
      kind = wanted;
    }
    view.draw(rows.map((row) => number(row.steps)), columns, agents, words);
  };
}

function agentLines(host, agents, words) {
  const few = agents <= FEW_LINES;
  let last = null;
  const ends = (agent) => (agent === last?.highAt ? "c2" : agent === last?.lowAt ? "c1" : "");
  const series = [...Array(agents).keys()].map((agent) => (few
    ? { name: `agent ${agent}`, colour: `c${agent + 1}`, points: true }
    : { name: "", colour: () => ends(agent) || "soft", faint: () => !ends(agent), width: 1.5 }));
  const chart = lineChart(host, { name: words.name, x: "steps", unit: words.unit, series, height: 265, least: 0.1 });
  return {
    remove: chart.remove,
    draw(steps, columns, n, now) {
      last = extremes(columns[columns.length - 1]);
      const data = [steps, ...series.map((_, agent) => columns.map((column) => column[agent] ?? null))];
      const labels = few || !last ? [] : [
        { y: last.high, text: `agent ${last.highAt} ${quantity(last.high)}`, colour: "c2", strong: true },
        { y: last.low, text: `agent ${last.lowAt} ${quantity(last.low)}`, colour: "c1", strong: true },
      ];
      chart.draw(data, { labels, late: now.late && steps.length >= MANY_ROWS, say: extremesInWords(columns[columns.length - 1], now) });
    },
  };
}

function extremesInWords(column, words) {
  const found = extremes(column);
  if (!found) return "";
  return `${words.high} now: agent ${found.highAt} (${quantity(found.high)}); `
    + `${words.low}: agent ${found.lowAt} (${quantity(found.low)}).`;
}

function heatMap(host) {
  const canvas = element("canvas", { class: "map", role: "img" });
  const ramp = element("p", { class: "keys" });
  const tip = element("div", { class: "tip", hidden: true });
  const holder = element("div", { class: "map-holder" }, [canvas, tip]);
  host.append(ramp, holder);
  let steps = [];
  let columns = [];
  let agents = 0;
  let words = {};

  function cells() {
    const width = canvas.clientWidth;
    const height = canvas.clientHeight - 24;
    return { width: (width - MAP_LEFT) / Math.max(1, columns.length), height: height / Math.max(1, agents), bottom: height };
  }

  /** The range of the colours is that of the later half: at the start all agents are alike, and far from it. */
  function lateExtremes() {
    return extremes(columns.slice(Math.floor(columns.length / 2)).flat());
  }

  function paintMap() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !columns.length) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    const range = lateExtremes();
    const [from, to] = [rgb(paint("heat-low")), rgb(paint("heat-high"))];
    const cell = cells();
    columns.forEach((column, i) => column.forEach((value, agent) => {
      if (value === null) return;
      const share = range.high > range.low ? Math.min(1, Math.max(0, (value - range.low) / (range.high - range.low))) : 0.5;
      ctx.fillStyle = `rgb(${from.map((low, k) => Math.round(low + share * (to[k] - low))).join(",")})`;
      // A little over the edge: no lines of the background between cells.
      ctx.fillRect(MAP_LEFT + i * cell.width, agent * cell.height, cell.width + 0.6, cell.height + 0.6);
    }));
    labelMap(ctx, cell, width);
  }

  function labelMap(ctx, cell, width) {
    const every = [1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000].find((n) => n * cell.height >= 24) ?? agents;
    for (let agent = 0; agent < agents; agent += every) {
      text(ctx, String(agent), 0, Math.max(6, (agent + 0.5) * cell.height), paint("soft"), FONT);
    }
    let free = -Infinity;
    steps.forEach((step, i) => {
      const x = MAP_LEFT + (i + 0.5) * cell.width;
      if (x < free || x > width - 20) return;
      text(ctx, shortCount(step), x - (i ? 12 : 3), cell.bottom + 14, paint("soft"), FONT);
      free = x + 70;
    });
  }

  canvas.addEventListener("mousemove", (event) => {
    const cell = cells();
    const i = Math.floor((event.offsetX - MAP_LEFT) / cell.width);
    const agent = Math.floor(event.offsetY / cell.height);
    const value = columns[i]?.[agent];
    tip.hidden = value === undefined || agent >= agents;
    say(tip, `agent ${agent} at ${count(steps[i])} steps: ${quantity(value)}`);
    tip.style.left = `${Math.min(event.offsetX + 12, canvas.clientWidth - tip.offsetWidth)}px`;
    tip.style.top = `${event.offsetY + 14}px`;
  });
  canvas.addEventListener("mouseleave", () => (tip.hidden = true));
  new ResizeObserver(paintMap).observe(canvas);

  const view = {
    remake: paintMap,
    remove() {
      charts.delete(view);
      holder.remove();
      ramp.remove();
    },
    draw(newSteps, newColumns, n, newWords) {
      [steps, columns, agents, words] = [newSteps, newColumns, n, newWords];
      const range = lateExtremes();
      const told = extremesInWords(columns[columns.length - 1], words);
      canvas.setAttribute("aria-label", `${words.name}, a row an agent, a column an evaluation. ${told}`);
      fill(ramp, [range, words.unit], () => [
        element("span", {}, "rows: agents, columns: evaluations, by steps per agent"),
        element("span", { class: "ramp" }, [`${quantity(range?.low)} or less`, element("i"), `${quantity(range?.high)} ${words.scale} or more`.replace("  ", " ")]),
      ]);
      paintMap();
    },
  };
  charts.add(view);
  return view;
}

function rgb(colour) {
  return (/^#(..)(..)(..)$/.exec(colour) ?? ["", "80", "80", "80"]).slice(1).map((hex) => parseInt(hex, 16));
}
