// The tables of the page: processes, health of learning, and the charts in numbers; and what the machine does.

const MIB = (value) => (number(value) === null ? DASH : value < 1024 ? `${count(value)} MiB` : `${(value / 1024).toFixed(1)} GiB`);

function drawMachine({ history }) {
  const card = $("card-machine");
  const seconds = list(history.seconds).map(number);
  const [workers, memory] = [columnOf(history, "workers", seconds), columnOf(history, "memory_mib", seconds)];
  note(card, "empty", hasAny([...workers, ...memory]) ? "" : "Nothing was measured.");
  if (hasAny(memory)) {
    once("memory", () => lineChart(card, {
      name: "Memory of all processes against the time", x: "seconds", unit: "MiB", height: 190, zero: true, say: MIB,
      series: [{ name: "memory", colour: "c5", area: true, gaps: true }],
    })).draw([seconds, memory], { say: `Now ${MIB(lastOf(memory))}.` });
  }
  if (hasAny(workers)) {
    const [least, now] = [Math.min(...known(workers)), lastOf(workers)];
    note(card, "workers", least === now ? `${plural(now, "rollout worker", "rollout workers")} all along.` : `${plural(now, "rollout worker", "rollout workers")} now, ${count(least)} at the least.`);
  }
}

function drawProcesses({ processes }) {
  const card = $("card-processes");
  const host = once("processes", () => card.appendChild(element("div", { class: "scroll" })));
  const rows = processes.map((one) => [
    string(one.name), string(one.role), string(one.doing) || list(one.busy_with).map(string).join(", ") || "waiting",
    MIB(one.memory_mib), number(one.age_s) === null ? DASH : duration(one.age_s), [string(one.host), number(one.pid) ?? ""].filter(Boolean).join(" · "),
  ]);
  card.hidden = !rows.length;
  fill(host, rows, () => table(["process", "role", "doing", "memory", "last heard", "host · pid"], rows, "plain words stacks-up"));
}

const HEALTH = [
  ["entropy", "entropy"], ["approximate_kl", "KL"], ["clip_fraction", "clipped"], ["gradient_norm", "gradient"],
  ["policy_loss", "policy loss"], ["value_loss", "value loss"], ["explained_variance", "explained"],
];

function drawHealth(now) {
  const card = $("card-health");
  const groups = objects(now.groups);
  const host = once("health", () => card.appendChild(element("div", { class: "scroll" })));
  card.hidden = !groups.length;
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
  unfold(card, "Every evaluation", evaluations.length && table(
    ["steps", "time", "return", "greedy return", "influence error", "least – greatest agent", "episodes"],
    evaluations.map((row) => [count(row.steps), duration(number(row.seconds)), withError(row.return_mean, row.return_se), withError(row.greedy_return_mean, row.greedy_return_se),
      quantity(row.influence_ce_mean), number(row.influence_ce_min) === null ? DASH : `${quantity(row.influence_ce_min)} – ${quantity(row.influence_ce_max)}`, count(row.episodes)])));
  unfold(card, "Every refresh of the AIPs", refreshes.length && table(
    ["steps", "time", "before", "after", "frequencies alone", "took"],
    refreshes.map((row) => [count(row.steps), duration(number(row.seconds_in_run)), quantity(row.ce_before), quantity(row.ce_after), quantity(row.ce_marginal), duration(number(row.seconds))])));
}

/** Something that opens on a click, and stays open when its content changes; without content it is not there. */
function unfold(card, title, content) {
  const host = once(`${card.id} ${title}`, () => {
    const inner = element("div", { class: "scroll", tabindex: "0" });
    const made = card.appendChild(element("details", {}, [element("summary", {}, title), inner]));
    return { made, inner };
  });
  host.made.hidden = !content;
  if (content && host.inner.innerHTML !== content.outerHTML) host.inner.replaceChildren(content);
}
