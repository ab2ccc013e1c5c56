// The tables of the page: processes, health of learning, and the charts in numbers; and what the machine does.

const MIB = (value) => (number(value) === null ? DASH : value < 1024 ? `${count(value)} MiB` : `${(value / 1024).toFixed(1)} GiB`);

function drawMachine({ state, history, late }) {
  const card = $("card-machine");
  const seconds = list(history.seconds).map(number);
  const workers = columnOf(history, "workers", seconds);
  // No process has no memory: at the end of a run there is nobody left to ask.
  const memory = columnOf(history, "memory_mib", seconds).map((value) => value || null);
  note(card, "empty", hasAny([...workers, ...memory]) ? "" : "Nothing was measured.");
  if (hasAny(memory)) {
    once("memory", () => lineChart(card, {
      name: "Memory of all processes against the time", x: "seconds", unit: "MiB", height: 190, zero: true, say: MIB,
      series: [{ name: "memory", colour: "c5", area: true, gaps: true }],
    })).draw([seconds, memory], { when: late ? LAST_NEWS : "", say: `${endOf(late)} ${MIB(lastOf(memory))}.` });
  }
  if (hasAny(workers)) {
    const { low, high } = extremes(workers);
    const now = plural(lastOf(workers), "rollout worker", "rollout workers");
    note(card, "workers", state !== "running" || late ? `At most ${plural(high, "rollout worker", "rollout workers")}.` : low === high ? `${now} all along.` : `${now} now, between ${count(low)} and ${count(high)} so far.`);
  }
}

/** The number of the process that all of these are threads of; null if there are several, or none. */
function sharedPid(processes) {
  const [first] = processes;
  const shared = first && number(first.pid) !== null && processes.every((one) => one.pid === first.pid && one.host === first.host);
  return shared ? first.pid : null;
}

function drawProcesses({ processes, late }) {
  const card = $("card-processes");
  const host = once("processes", () => card.appendChild(element("div", { class: "scroll" })));
  const rows = processes.map((one) => [
    string(one.name), string(one.role), string(one.doing) || list(one.busy_with).map(string).join(", ") || "waiting",
    MIB(one.memory_mib), number(one.age_s) === null ? DASH : duration(one.age_s), [string(one.host), number(one.pid) ?? ""].filter(Boolean).join(" · "),
  ]);
  card.hidden = !rows.length;
  // Threads of one process share its memory and its news: there it is said once.
  const shared = rows.length > 1 && sharedPid(processes) !== null;
  const memory = known(numbersOf(processes, "memory_mib")).reduce((sum, value) => sum + value, 0);
  say(card.querySelector("h2"), shared ? "Threads" : "Processes");
  note(card, "late", late ? "As they were at the last news." : "");
  note(card, "shared", shared ? `All of one process: ${rows[0][5]}, ${MIB(memory)}.` : "");
  const columns = ["name", "role", "doing", "memory", "last heard", "host · pid"];
  fill(host, [shared, rows], () => (shared
    ? table(columns.slice(0, 3), rows.map((row) => row.slice(0, 3)), "plain words stacks-up")
    : table(columns, rows, "plain words stacks-up")));
}

const HEALTH = [
  ["entropy", "entropy"], ["approximate_kl", "KL"], ["clip_fraction", "clipped"], ["gradient_norm", "gradient"],
  ["policy_loss", "policy loss"], ["value_loss", "value loss"], ["explained_variance", "explained"],
];

function drawHealth({ now, late }) {
  const card = $("card-health");
  const groups = objects(now.groups);
  const host = once("health", () => card.appendChild(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Health of learning" })));
  card.hidden = !groups.length;
  note(card, "late", late ? "As it was at the last news." : "");
  const rows = groups.map((one, i) => [
    String(number(one.group) ?? (groups.length > 1 ? i : "all")), count(one.agents), count(one.version), string(one.doing) || DASH,
    ...HEALTH.map(([key]) => small(object(one.health)[key])),
  ]);
  fill(host, rows, () => table(["group", "agents", "version", "doing", ...HEALTH.map(([, name]) => name)], rows, "plain health"));
}

function drawNumbers(now) {
  const card = $("card-numbers");
  const evaluations = bySteps(now.evaluations).reverse();
  const refreshes = bySteps(now.refreshes).reverse();
  card.hidden = !evaluations.length && !refreshes.length;
  unfold(card, "Every evaluation",
    ["steps", "time", "return", "greedy return", "influence error", "least – greatest agent", "episodes"],
    evaluations.map((row) => [count(row.steps), duration(number(row.seconds)), withError(row.return_mean, row.return_se), withError(row.greedy_return_mean, row.greedy_return_se),
      quantity(row.influence_ce_mean), number(row.influence_ce_min) === null ? DASH : `${quantity(row.influence_ce_min)} – ${quantity(row.influence_ce_max)}`, count(row.episodes)]));
  unfold(card, "Every refresh of the AIPs",
    ["steps", "time", "before", "after", "frequencies alone", "took"],
    refreshes.map((row) => [count(row.steps), duration(number(row.seconds_in_run)), quantity(row.ce_before), quantity(row.ce_after), quantity(row.ce_marginal), duration(number(row.seconds))]));
}

/** A table that opens on a click, and stays open when it grows; without rows it is not there. */
function unfold(card, title, columns, rows) {
  const host = once(`${card.id} ${title}`, () => {
    const inner = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title });
    const made = card.appendChild(element("details", {}, [element("summary", {}, title), inner]));
    return { made, inner };
  });
  host.made.hidden = !rows.length;
  fill(host.inner, rows, () => table(columns, rows));
}
