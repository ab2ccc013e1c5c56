// Values in words, as in the report, and safe ways to take what may be missing out of the state.
// A missing value is null everywhere, and every function here turns it into a dash or passes it on.

const DASH = "–";

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
const objects = (value) => list(value).map(object);
const string = (value) => (typeof value === "string" ? value : "");
const known = (values) => values.filter((value) => value !== null);

/** What a time series ends with: a run without news may be anywhere by now. */
const LAST_NEWS = "at the last news";
const endOf = (late) => (late ? "At the last news" : "Now");

const group = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** 1000000 -> "1,000,000". */
function count(value) {
  return number(value) === null ? DASH : group(Math.round(value).toString());
}

/** For axes: 250000 -> "250k", 1500000 -> "1.5M". */
function shortCount(value) {
  for (const [unit, name] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= unit) return `${parseFloat((value / unit).toPrecision(3))}${name}`;
  }
  return `${parseFloat(value.toPrecision(3))}`;
}

/** Two leading units: 38.2 -> "38 s", 252 -> "4 min 12 s", 8000 -> "2 h 13 min". */
function duration(seconds) {
  if (number(seconds) === null) return DASH;
  if (seconds < 9.95) return `${Math.max(0, seconds).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  const minutes = Math.round(seconds / 60);
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** What is left, without more precision than a guess has: 38.2 -> "40 s", 252 -> "4 min". */
function roughly(seconds) {
  if (seconds < 10) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 90) return `${Math.round(seconds / 5) * 5} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return duration(Math.round(seconds / 600) * 600);
}

/** For the time axis: 90 -> "1:30", 5400 -> "1:30 h". */
function clock(seconds) {
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  if (seconds >= 3600) return `${Math.floor(seconds / 3600)}:${two((seconds % 3600) / 60)} h`;
  return seconds % 1 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
}

/** A return or a cross-entropy with the decimals that it deserves: 14.2271 -> "14.23", 211.62 -> "211.6". */
function quantity(value) {
  if (number(value) === null) return DASH;
  const size = Math.abs(value);
  const text = size.toFixed(size < 100 ? 2 : size < 1000 ? 1 : 0);
  const [whole, rest] = text.split(".");
  return (value < 0 && parseFloat(text) ? "−" : "") + group(whole) + (rest ? `.${rest}` : "");
}

/** Small numbers of PPO: 0.01234 -> "0.0123". */
function small(value) {
  if (number(value) === null) return DASH;
  if (value !== 0 && Math.abs(value) < 0.0001) return value.toExponential(0).replace("-", "−");
  return String(parseFloat(value.toPrecision(3))).replace(/^-/, "−");
}

function percent(share) {
  if (number(share) === null) return DASH;
  if (share > 0 && share < 0.01) return "< 1 %";
  return share > 0.99 && share < 1 ? "> 99 %" : `${Math.round(share * 100)} %`;
}

const withError = (mean, se) => quantity(mean) + (number(se) === null ? "" : ` ± ${quantity(se)}`);
const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

/** Least, greatest and their places in ``values``, nulls apart; null if there is none. */
function extremes(values) {
  let found = null;
  values.forEach((value, index) => {
    if (number(value) === null) return;
    found ??= { low: value, high: value, lowAt: index, highAt: index };
    if (value < found.low) [found.low, found.lowAt] = [value, index];
    if (value > found.high) [found.high, found.highAt] = [value, index];
  });
  return found;
}

// --- the document ------------------------------------------------------------------------------------------

/** A new element; ``content`` is text, an element, or a list of both. Text never becomes markup. */
function element(tag, attributes = {}, content = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...[content].flat());
  return made;
}

/** Set the text of an element, and touch nothing if it has it. */
function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Replace what is in ``host`` by ``content`` if ``key`` changed since the last time: a selection survives. */
function fill(host, key, content) {
  const text = JSON.stringify(key);
  if (host.filledWith === text) return;
  host.filledWith = text;
  host.replaceChildren(...[content()].flat());
}

/** A table; the first cell of each row names it. ``columns``: [name, ...]; ``rows``: [[text, ...], ...]. */
function table(columns, rows, kind = "plain") {
  const head = element("thead", {}, element("tr", {}, columns.map((name) => element("th", { scope: "col" }, name))));
  const body = rows.map((cells) =>
    element("tr", {}, cells.map((cell, i) =>
      i ? element("td", { "data-name": columns[i] }, cell) : element("th", { scope: "row" }, cell))));
  return element("table", { class: kind }, [head, element("tbody", {}, body)]);
}
