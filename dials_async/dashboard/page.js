// The page: asks for the state every two seconds, writes header, warnings and tables, and has the cards drawn.

const EVERY_MS = 2000;
const RECENT_S = 30; // over which the rate is measured that tells how long the run still takes
const PAUSE = 1 / 3; // a recent rate below this share of the mean: a refresh or an evaluation, and it will pass
const PATIENCE_MS = 5000;
const LATE = 5; // no news for so many times the interval: the process hangs or is gone

const SIMULATORS = { dials: "DIALS", untrained: "untrained-DIALS", gs: "global simulator" };
const CARDS = [
  ["card-return", (state) => drawReturn(state.now)],
  ["card-influence", (state) => drawInfluence(state.now, state.state === "running" && !state.late)],
  ["card-throughput", (state) => drawThroughput(state)],
  ["card-agents", (state) => drawAgents(state.now)],
  ["card-lag", (state) => drawLag(state)],
  ["card-queues", (state) => drawQueues(state)],
  ["card-machine", (state) => drawMachine(state)],
  ["card-processes", (state) => drawProcesses(state)],
  ["card-health", (state) => drawHealth(state)],
  ["card-numbers", (state) => drawNumbers(state.now)],
];

let latest = null;
let goneSince = null;
let goneWhy = "";
let timer = 0;
let asking = false;

/** What is sure about a state: its parts have the types that the rest of the page relies on. */
function checked(raw) {
  const state = object(raw);
  const [readAt, at, every] = [number(state.read_at) ?? Date.now() / 1000, number(state.at), number(state.every_s)];
  const late = state.state === "running" && at !== null && readAt - at > LATE * (every ?? EVERY_MS / 1000);
  return { state: string(state.state), source: string(state.source), at, late, now: object(state.now), processes: objects(state.processes),
    stuck: list(state.stuck).map(string).filter(Boolean), history: aligned(object(state.history)) };
}

/** The history without samples whose time is unknown: a chart needs times that ascend. */
function aligned(history) {
  let last = -Infinity;
  const keep = [];
  list(history.seconds).forEach((value, i) => {
    if (number(value) !== null && value > last) keep.push(i);
    last = Math.max(last, number(value) ?? last);
  });
  return Object.fromEntries(Object.entries(history).map(([key, column]) => [key, keep.map((i) => list(column)[i])]));
}

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const giveUp = new AbortController();
  const alarm = setTimeout(() => giveUp.abort(), PATIENCE_MS);
  try {
    const answer = await fetch("state", { signal: giveUp.signal, cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.text()).trim());
    latest = checked(await answer.json());
    goneSince = null;
  } catch (error) {
    goneSince ??= new Date();
    goneWhy = error instanceof TypeError || error.name === "AbortError" ? "" : error.message;
  } finally {
    clearTimeout(alarm);
    asking = false;
  }
  draw();
  if (!document.hidden) timer = setTimeout(ask, EVERY_MS);
}

function draw() {
  drawBanners(latest);
  document.body.classList.toggle("gone", goneSince !== null);
  if (!latest) return;
  drawHeader(latest);
  drawTiles(latest);
  $("cards").hidden = false;
  for (const [id, drawCard] of CARDS) {
    try {
      drawCard(latest);
    } catch (error) { // one card that fails leaves the others alone
      console.error(`${id} cannot be drawn`, error);
    }
  }
}

function drawHeader({ state, late, now, history, source }) {
  const [done, wanted] = [number(now.steps_done), number(now.steps)];
  const share = done === null || !wanted ? null : Math.min(1, done / wanted);
  const chip = late ? "no news" : state || "unknown";
  say($("run"), string(now.run));
  const about = [string(now.preset), SIMULATORS[now.simulator] ?? string(now.simulator), number(now.agents) === null ? "" : plural(now.agents, "agent", "agents"),
    number(now.seed) === null ? "" : `seed ${now.seed}`];
  say($("about"), about.filter(Boolean).join(" · "));
  say($("chip"), chip);
  $("chip").className = `chip ${late ? "late" : state}`;
  say($("headline"), headline(state, late, share, timeLeft(now, history), now));
  document.body.classList.toggle("no-aips", now.simulator === "gs");
  const bar = $("progress");
  bar.setAttribute("aria-valuenow", share === null ? 0 : Math.floor(100 * share));
  bar.className = `progress ${late ? "late" : state}`;
  bar.firstElementChild.style.width = `${100 * (share ?? 0)}%`;
  const steps = done === null ? "" : `${count(done)}${wanted ? ` of ${count(wanted)}` : ""} steps per agent`;
  const doing = state === "running" && !late ? doingNow(now) : "";
  say($("since"), [steps, doing, source === "tables" ? "from the tables of the run: it wrote no live news" : ""].filter(Boolean).join(" · "));
  const shown = share === null ? "" : `${Math.floor(100 * share)} %`;
  document.title = [goneSince ? "?" : chip === "running" ? shown : [chip, shown].filter(Boolean).join(" "), string(now.run), "dials"].filter(Boolean).join(" · ");
  say($("spoken"), `${string(now.run)}: ${chip}${share === null ? "" : `, ${Math.floor(10 * share) * 10} percent`}`);
}

function headline(state, late, share, left, now) {
  const done = share === null ? "" : percent(share >= 1 ? 1 : Math.floor(100 * share) / 100);
  const at = done && ` at ${done}`;
  if (late) return `No news${at}`;
  if (state === "complete") return `Done: ${count(now.steps_done)} steps in ${duration(number(now.seconds))}`;
  if (state === "failed") return `Failed${at}`;
  if (state === "stopped") return `Stopped${at}`;
  if (!share) return state === "running" ? "Starting" : "Nothing is known yet";
  if (share >= 1) return "All steps done, evaluating";
  return left === null ? `${done} done` : `${done} done, about ${roughly(left)} left`;
}

function timeLeft(now, history) {
  const [done, wanted, agents, mean] = [number(now.steps_done), number(now.steps), number(now.agents), meanRate(now)];
  const recent = recentRate(now, history);
  const rate = recent !== null && recent >= PAUSE * (mean ?? 0) ? recent : mean;
  if ([done, wanted, agents, rate].includes(null) || rate <= 0 || done < 0.005 * wanted) return null;
  return ((wanted - done) * agents) / rate;
}

/** Agent-steps per second since the start: "agent_steps_per_second" is that of the last seconds. */
function meanRate(now) {
  const [total, seconds] = [number(now.total_agent_steps), number(now.seconds)];
  return total !== null && seconds > 0 ? total / seconds : null;
}

/** That of the last RECENT_S, or of as long as the last two samples are apart; null while there is no such time. */
function recentRate(now, history) {
  const [total, seconds] = [number(now.total_agent_steps), number(now.seconds)];
  if (total === null || seconds === null || !(number(now.agent_steps_per_second) > 0)) return null;
  const times = list(history.seconds);
  const totals = columnOf(history, "total_agent_steps", times);
  for (let i = times.length - 1; i >= 0; i--) {
    if (totals[i] !== null && seconds - times[i] >= RECENT_S) return total > totals[i] ? (total - totals[i]) / (seconds - times[i]) : null;
  }
  return null;
}

/** What the groups do, the most frequent first: their numbers of updates left out, they differ by one. */
function doingNow(now) {
  const counts = new Map();
  for (const one of objects(now.groups)) {
    const words = string(one.doing).replace(/ (for|of)? ?update \d+.*$/, "").replace(/ \d+$/, "");
    if (words) counts.set(words, (counts.get(words) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 2).map(([words]) => words).join(", ");
}

function drawBanners({ state, late, at, stuck, now, processes } = { stuck: [], now: {}, processes: [] }) {
  const banners = [];
  if (goneSince !== null) {
    const words = goneWhy || "The dashboard's server does not answer";
    banners.push(["bad", `${words}, since ${goneSince.toLocaleTimeString()}.`, ["The run is not touched by that. Start it again with:"], `dials dashboard ${string(now.run)}`.trim()]);
  }
  if (late) {
    const resuming = resumeCommand(now, processes);
    const words = `The process that trains it hangs, or it was killed.${resuming && " Once it is gone, this goes on with the run:"}`;
    banners.push(["bad", `No news from the run since ${new Date(1000 * at).toLocaleTimeString()}.`, [words], resuming]);
  }
  if (state === "failed") banners.push(["bad", "The run failed.", ["Its error stands where it was started."]]);
  if (stuck.length) banners.push(["warn", state === "running" && !late ? "The run is stuck:" : "The run was stuck:", stuck]);
  fill($("banners"), banners, () => banners.map(([kind, words, lines, command]) => element("div", { class: `banner ${kind}` }, [
    element("b", {}, words), ...(lines.length > 1 ? [element("ul", {}, lines.map((line) => element("li", {}, line)))] : [" ", ...lines]),
    ...(command ? [" ", element("code", {}, command)] : []),
  ])));
}

/** What goes on with a run that one process trained; those of many are started again by who watches over them. */
function resumeCommand(now, processes) {
  const name = string(now.run);
  return name && sharedPid(processes) !== null ? `dials train --run ${name} --resume` : "";
}

function drawTiles({ state, late, now, history }) {
  const evaluation = bySteps(now.evaluations).pop() ?? {};
  const best = named(now.baselines).sort((a, b) => b[1] - a[1])[0];
  const [refreshed, planned] = [list(now.refreshes).length, number(now.aip_refreshes) ?? 0];
  const running = state === "running" && !late;
  const left = running ? timeLeft(now, history) : null;
  const [total, mean] = [number(now.total_agent_steps), meanRate(now)];
  const tiles = [
    running
      ? ["agent-steps/s", count(now.agent_steps_per_second), "", mean > 0 ? `${count(mean)} in the mean` : ""]
      : ["agent-steps/s", count(mean), "", late ? `in the mean; ${count(now.agent_steps_per_second)} at the last news` : mean === null ? "" : "mean over the whole run"],
    ["elapsed", duration(number(now.seconds)), "", late ? "until the last news" : left ? `about ${roughly(left)} left` : total === null ? "" : `${count(total)} agent-steps`],
    ["return", quantity(evaluation.return_mean), plusMinus(evaluation.return_se), number(evaluation.steps) === null ? "not evaluated yet" : `after ${count(evaluation.steps)} steps`],
    ["greedy return", quantity(evaluation.greedy_return_mean), plusMinus(evaluation.greedy_return_se), best ? `best hand-written ${quantity(best[1])}` : "always the likeliest action"],
    ["influence error", quantity(evaluation.influence_ce_mean), "nats", now.simulator === "gs" ? "no AIPs" : planned > refreshed ? `after ${refreshed} of ${plural(planned, "refresh", "refreshes")}` : `after ${plural(refreshed, "refresh", "refreshes")}`],
    ["policy lag", quantity(meanLag(now)), "", now.max_policy_lag === 0 ? "lag 0 is set" : number(now.max_policy_lag) === null ? "" : `versions, at most ${count(now.max_policy_lag)}`],
  ];
  fill($("tiles"), tiles, () => tiles.map(([name, value, unit, words]) => element("div", { class: "tile" }, [
    element("dt", {}, name), element("dd", {}, [value, value === DASH || !unit ? "" : element("small", {}, unit)]), element("p", {}, words),
  ])));
}

const plusMinus = (value) => (number(value) === null ? "" : `± ${quantity(value)}`);

function meanLag(now) {
  const lags = named(now.policy_lag_messages);
  const messages = lags.reduce((sum, [, n]) => sum + n, 0);
  return messages ? lags.reduce((sum, [lag, n]) => sum + Number(lag) * n, 0) / messages : null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else ask();
});
ask();
