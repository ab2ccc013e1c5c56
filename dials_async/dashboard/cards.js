// What the cards of the page show: one function a card, from the state to charts, tables and words.
// Each makes its parts when it first has something to show, and says so in words when it has nothing.

const $ = (id) => document.getElementById(id);
const parts = {};

/** What ``make`` returned the first time that it was asked for under ``name``. */
const once = (name, make) => (parts[name] ??= make());

/** A line of words in a card; empty text hides it. */
function note(card, name, words, kind = "note") {
  const target = once(`${card.id} ${name}`, () => card.appendChild(element("p", { class: kind })));
  say(target, words);
  target.hidden = !words;
}

const numbersOf = (values, key) => values.map((value) => number(value[key]));
const bySteps = (rows) => objects(rows).filter((row) => number(row.steps) !== null).sort((a, b) => a.steps - b.steps);
const hasAny = (values) => values.some((value) => value !== null);
const shifted = (means, errors, sign) => means.map((mean, i) => (mean === null ? null : mean + sign * (errors[i] ?? 0)));

/** Named numbers of an object, without those that are none. */
const named = (values) => Object.entries(object(values)).filter(([, value]) => number(value) !== null);

function drawReturn(now) {
  const card = $("card-return");
  const rows = bySteps(now.evaluations);
  note(card, "empty", rows.length ? "" : "The first evaluation is not there yet.");
  if (!rows.length) return;
  const [sampled, greedy] = [numbersOf(rows, "return_mean"), numbersOf(rows, "greedy_return_mean")];
  const [error, greedyError] = [numbersOf(rows, "return_se"), numbersOf(rows, "greedy_return_se")];
  const chart = once("return", () => lineChart(card, {
    name: "Return per episode against steps per agent", x: "steps", unit: "return per episode", height: 395,
    series: [
      { name: "sampled", colour: "c1", points: true }, { name: "", colour: "c1", hidden: true }, { name: "", colour: "c1", hidden: true },
      { name: "greedy", colour: "c2", points: true }, { name: "", colour: "c2", hidden: true }, { name: "", colour: "c2", hidden: true },
    ],
    bands: [[2, 3, "c1"], [5, 6, "c2"]],
  }));
  const ends = [["sampled", lastOf(sampled), "c1"], ["greedy", lastOf(greedy), "c2"]].filter(([, y]) => y !== null)
    .map(([name, y, colour]) => ({ y, text: name, colour, strong: true }));
  const baselines = named(now.baselines).map(([name, y]) => ({ y, text: `${name} ${quantity(y)}`, short: name, colour: "soft", line: true }));
  const published = named(now.published).map(([name, y]) =>
    ({ y, text: `published: ${name} ${quantity(y)}`, short: name, colour: "c3", italic: true, line: true }));
  const keys = [...(baselines.length ? [["dashed", "hand-written"]] : []), ...(published.length ? [["dotted", "published"]] : [])];
  chart.draw(
    [numbersOf(rows, "steps"), sampled, shifted(sampled, error, 1), shifted(sampled, error, -1),
      greedy, shifted(greedy, greedyError, 1), shifted(greedy, greedyError, -1)],
    { labels: [...ends, ...baselines, ...published], keys, xMax: number(now.steps) ?? 1, say: `Now ${quantity(lastOf(sampled))} sampled, ${quantity(lastOf(greedy))} greedy.` },
  );
}

/** From so many evaluations on the untrained predictors at the start no longer squeeze what came after them. */
const MANY_ROWS = 5;

const AIPS_MISSING = {
  gs: "Trained on the global simulator itself: there are no influence predictors.",
  untrained: "The predictors of this run are never trained: there are no refreshes.",
};

function drawInfluence(now, running) {
  const card = $("card-influence");
  const rows = bySteps(now.evaluations).filter((row) => number(row.influence_ce_mean) !== null);
  const refreshes = bySteps(now.refreshes);
  const missing = AIPS_MISSING[now.simulator] ?? "";
  const something = rows.length || refreshes.length;
  note(card, "missing", missing || (something ? "" : "The predictors were not measured yet."));
  drawNextRefresh(card, now, running);
  if (!something || now.simulator === "gs") return;
  const chart = once("influence", () => lineChart(card, {
    name: "Cross-entropy of the influence predictors against steps per agent", x: "steps", unit: "nats per source", height: 285, least: 0.1, zero: true,
    series: [{ name: "mean", colour: "c1", points: true }, { name: "", colour: "c1", hidden: true }, { name: "", colour: "c1", hidden: true }],
    bands: [[2, 3, "c1"]],
  }));
  const mean = numbersOf(rows, "influence_ce_mean");
  const data = rows.length
    ? [numbersOf(rows, "steps"), mean, numbersOf(rows, "influence_ce_max"), numbersOf(rows, "influence_ce_min")]
    : [[0], [null], [null], [null]];
  const arrows = refreshes.map((row) => ({ x: row.steps, from: number(row.ce_before), to: number(row.ce_after) }))
    .filter((row) => row.from !== null && row.to !== null);
  const stairs = refreshes.map((row) => ({ x: row.steps, y: number(row.ce_marginal) })).filter((row) => row.y !== null);
  // Where there are too many to draw them all, the arrows alone say when it was.
  const every = refreshes.map((row) => ({ x: row.steps }));
  const marks = arrows.length && markEvery(every) > 1 ? [] : every;
  const labels = mean.length ? [{ y: lastOf(mean), text: quantity(lastOf(mean)), colour: "c1", strong: true }] : [];
  const last = arrows[arrows.length - 1];
  const refreshed = last ? ` The last refresh took it from ${quantity(last.from)} to ${quantity(last.to)}.` : "";
  const keys = [...(arrows.length ? [["c2 arrow", "refresh, before → after"]] : []), ...(stairs.length ? [["dashed", "frequencies alone"]] : [])];
  chart.draw(data, { labels, arrows, stairs, marks, keys, late: rows.length >= MANY_ROWS, xMax: number(now.steps) ?? 1, say: `Now ${quantity(lastOf(mean))}.${refreshed}` });
}

function drawNextRefresh(card, now, running) {
  const [every, since] = [number(now.refresh_steps), number(now.steps_since_refresh)];
  const host = once("next", () => card.insertBefore(element("div", { class: "next" }), card.children[2] ?? null));
  host.hidden = !running || every === null || since === null || every <= 0;
  if (host.hidden) return;
  const left = Math.max(0, every - since);
  fill(host, [every, since], () => [
    element("p", {}, left ? ["next refresh in ", element("b", {}, `${count(left)} steps`), ` of ${count(every)}`] : "a refresh is due"),
    bar(since / every),
  ]);
}

/** A thin bar, ``share`` of it filled. */
function bar(share, kind = "") {
  const inner = element("i");
  inner.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return element("div", { class: `length ${kind}`, "aria-hidden": "true" }, inner);
}

function drawThroughput({ now, history, late }) {
  const card = $("card-throughput");
  const seconds = numbersOf(objects(list(history.seconds).map((value) => ({ value }))), "value");
  const rates = columnOf(history, "agent_steps_per_second", seconds);
  note(card, "empty", hasAny(rates) ? "" : "Nothing was measured yet.");
  if (!hasAny(rates)) return;
  const chart = once("throughput", () => lineChart(card, {
    name: "Agent-steps per second against the time", x: "seconds", unit: "agent-steps per second", height: 285, zero: true, say: count,
    series: [{ name: "throughput", colour: "c4", width: 1.5, area: true, gaps: true }],
  }));
  const mean = meanRate(now);
  const first = known(seconds)[0] ?? 0;
  const marks = known(numbersOf(objects(now.refreshes), "seconds_in_run")).filter((x) => x >= first).map((x) => ({ x }));
  const labels = mean === null ? [] : [{ y: mean, text: `mean ${shortCount(mean)}`, short: "mean", colour: "soft", line: true }];
  const keys = marks.length ? [["mark", markEvery(marks) > 1 ? `one refresh of ${markEvery(marks)}` : "refresh"]] : [];
  chart.draw([seconds, rates], { marks, labels, keys, when: late ? LAST_NEWS : "", say: `${endOf(late)} ${count(lastOf(rates))}, in the mean ${count(mean)}.` });
}

/** A column of the history, as long as ``seconds`` whatever is there. */
function columnOf(history, key, seconds) {
  const column = list(history[key]);
  return seconds.map((_, i) => number(column[i]));
}

function drawAgents(now) {
  const card = $("card-agents");
  const kinds = {
    influence: { key: "influence_ce_per_agent", name: "Influence error of each agent", unit: "nats per source", scale: "nats", late: true, high: "Hardest to foresee", low: "easiest" },
    return: { key: "return_per_agent", name: "Return of each agent", unit: "return per episode", scale: "", high: "Highest return", low: "lowest" },
  };
  const measured = (kind) => bySteps(now.evaluations).filter((row) => hasAny(list(row[kinds[kind].key]).map(number)));
  const available = Object.keys(kinds).filter((kind) => measured(kind).length);
  const toggle = once("agents toggle", () => makeToggle(card, [["influence", "influence error"], ["return", "return"]], () => drawAgents(parts.agentsNow)));
  parts.agentsNow = now;
  toggle.hidden = available.length < 2;
  const kind = available.includes(toggle.chosen) ? toggle.chosen : available[0];
  if (!kind) return note(card, "empty", "No evaluation has values of single agents yet.");
  const words = kinds[kind];
  const rows = measured(kind);
  const host = once("agents host", () => card.appendChild(element("div")));
  once("agents view", () => agentsView(host))(rows, words.key, words);
  note(card, "empty", extremesInWords(list(rows[rows.length - 1][words.key]).map(number), words));
  return undefined;
}

/** Buttons of which one is pressed; ``changed`` is called when another one was. */
function makeToggle(card, options, changed) {
  const host = card.appendChild(element("div", { class: "toggle", role: "radiogroup", "aria-label": "what to show" }));
  host.chosen = options[0][0];
  options.forEach(([value, label], i) => {
    const input = element("input", { type: "radio", name: `${card.id}-kind`, id: `${card.id}-${value}`, checked: i === 0 });
    input.addEventListener("change", () => {
      host.chosen = value;
      changed();
    });
    host.append(input, element("label", { for: input.id }, label));
  });
  return host;
}

function drawLag({ now, history, late }) {
  const card = $("card-lag");
  const lags = named(now.policy_lag_messages).map(([lag, n]) => [Number(lag), n]).sort((a, b) => a[0] - b[0]);
  const total = lags.reduce((sum, [, n]) => sum + n, 0);
  const bars = once("lag bars", () => card.appendChild(element("div", { class: "bars" })));
  bars.hidden = !total;
  fill(bars, lags, () => mergeTail(lags, 6).map(([name, n]) => element("div", { class: "bar" }, [
    element("span", {}, name), element("span", { class: "value" }, `${count(n)} · ${percent(n / total)}`), bar(n / total),
  ])));
  const words = [];
  if (!total) words.push("No experience was used yet.");
  if (number(now.max_policy_lag) === 0) words.push("Lag 0 is set: every update learns from its own policy, and the run can be repeated bit for bit.");
  else if (number(now.max_policy_lag) !== null) words.push(`At most ${count(now.max_policy_lag)} is allowed.`);
  if (number(now.messages_dropped) > 0) words.push(`${plural(now.messages_dropped, "message was", "messages were")} too old and dropped.`);
  else if (total && number(now.messages_dropped) === 0) words.push("No message was dropped.");
  note(card, "words", words.join(" "));
  const seconds = list(history.seconds).map(number);
  const mean = columnOf(history, "lag_mean", seconds);
  if (mean.some((value) => value > 0)) {
    once("lag", () => lineChart(card, {
      name: "Mean policy lag against the time", x: "seconds", unit: "versions", height: 170, zero: true,
      series: [{ name: "mean lag", colour: "c3", width: 1.5, gaps: true }],
    })).draw([seconds, mean], { when: late ? LAST_NEWS : "", say: `${endOf(late)} ${quantity(lastOf(mean))}.` });
  }
}

function mergeTail(lags, most) {
  const name = (lag) => (lag === 0 ? "the same version" : plural(lag, "version behind", "versions behind"));
  if (lags.length <= most) return lags.map(([lag, n]) => [name(lag), n]);
  const tail = lags.slice(most - 1);
  const rest = tail.reduce((sum, [, n]) => sum + n, 0);
  return [...lags.slice(0, most - 1).map(([lag, n]) => [name(lag), n]), [`${tail[0][0]} and more`, rest]];
}

function drawQueues({ now, history, late }) {
  const card = $("card-queues");
  const seconds = list(history.seconds).map(number);
  const [tasks, experience] = [columnOf(history, "tasks", seconds), columnOf(history, "experience", seconds)];
  const queues = named(now.queues);
  note(card, "empty", hasAny([...tasks, ...experience]) || queues.length ? "" : "Queues were not measured.");
  if (hasAny([...tasks, ...experience])) {
    once("queues", () => lineChart(card, {
      name: "Messages that wait against the time", x: "seconds", unit: "messages", height: 190, zero: true, least: 4, say: count,
      series: [{ name: "tasks", colour: "c1", width: 1.5, gaps: true }, { name: "experience", colour: "c2", width: 1.5, gaps: true }],
    })).draw([seconds, tasks, experience], { when: late ? LAST_NEWS : "", say: `${endOf(late)} ${count(lastOf(tasks))} tasks, ${count(lastOf(experience))} of experience.` });
  }
  const host = once("queues now", () => card.appendChild(element("dl", { class: "facts" })));
  const dead = number(now.dead_letters);
  const facts = [...queues.map(([name, n]) => [name, count(n), ""]), ...(dead === null ? [] : [["dead letters", count(dead), dead > 0 ? "bad" : ""]])];
  fill(host, facts, () => facts.flatMap(([name, n, kind]) => [element("dt", {}, name), element("dd", { class: kind }, n)]));
}
