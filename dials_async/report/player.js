/* Plays the scene of an episode (format: dials_async/report/scene.py) on a canvas, without any library. */
(() => {
  "use strict";
  const box = document.querySelector("[data-player]");
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const frames = scene.frames, styles = scene.styles, last = frames.length - 1;
  const canvas = box.querySelector(".stage canvas"), pen = canvas.getContext("2d");
  const playButton = box.querySelector("[data-act=play]"), scrubber = box.querySelector("input[type=range]");
  const speedSelect = box.querySelector("select"), text = box.querySelector(".frame-text");
  const dark = matchMedia("(prefers-color-scheme: dark)"), calm = matchMedia("(prefers-reduced-motion: reduce)");
  const STEPS_PER_SECOND = 4, REST_AT_END_S = 1.5, MOVER = 5, MARK = 4;
  let time = 0;          // in frames; the fraction is how far movers are on their way to the next frame
  let untouched = true;  // it starts by itself only until the reader has used a control
  let playing = false, visible = false, before = 0, rest = 0, pending = 0, background = null, scale = 1;

  const colour = (c) => (Array.isArray(c) ? c[dark.matches ? 1 : 0] : c);
  const rgb = (c) => [1, 3, 5].map((i) => parseInt(colour(c).slice(i, i + 2), 16));
  const places = frames.map(() => null);  // of each frame: id -> offset of the mover
  function placesOf(k) {
    if (!places[k]) {
      places[k] = new Map();
      for (let i = 0; i < frames[k].movers.length; i += MOVER) places[k].set(frames[k].movers[i], i);
    }
    return places[k];
  }
  const ramps = new Map();
  function onRamp(style, value) {
    const key = styles.indexOf(style) * 64 + Math.round(value * 63) + (dark.matches ? 1e6 : 0);
    if (!ramps.has(key)) {
      const stops = style.ramp, at = value * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(at));
      const a = rgb(stops[i]), b = rgb(stops[i + 1]), f = at - i;
      ramps.set(key, `rgb(${a.map((v, n) => Math.round(v + (b[n] - v) * f)).join()})`);
    }
    return ramps.get(key);
  }

  function drawShape(p, shape) {
    for (const at of shape.at) {
      p.beginPath();
      if (shape.kind === "rect") p.roundRect(at[0], at[1], at[2], at[3], shape.radius || 0);
      else if (shape.kind === "circle") p.arc(at[0], at[1], at[2], 0, 7);
      else if (shape.kind === "line") for (let i = 0; i < at.length; i += 2) p.lineTo(at[i], at[i + 1]);
      else {
        p.fillStyle = colour(shape.fill || ["#333333", "#cccccc"]);
        p.font = `${shape.size || 1}px system-ui, sans-serif`;
        p.textAlign = "center"; p.textBaseline = "middle";
        p.fillText(at[2], at[0], at[1]);
        continue;
      }
      if (shape.fill) { p.fillStyle = colour(shape.fill); p.fill(); }
      if (shape.stroke) {
        p.strokeStyle = colour(shape.stroke); p.lineWidth = shape.line || 0.05;
        p.setLineDash(shape.dash ? [shape.dash, shape.dash] : []); p.stroke(); p.setLineDash([]);
      }
    }
  }

  /* progress: 0..1 on the way to the next frame, for pulses; -1 draws them at rest. */
  function drawGlyph(p, style, x, y, value, heading, progress) {
    const pulse = style.pulse && progress >= 0;
    const size = style.size * (pulse ? 0.75 + 0.85 * progress : 1), r = size / 2;
    p.globalAlpha = pulse ? Math.max(0, 1 - progress * progress) : 1;
    p.beginPath();
    if (style.shape === "square") p.roundRect(x - r, y - r, size, size, size * 0.18);
    else if (style.shape === "diamond") { p.moveTo(x, y - r); p.lineTo(x + r, y); p.lineTo(x, y + r); p.lineTo(x - r, y); p.closePath(); }
    else if (style.shape === "bar") {
      const width = style.width || size / 2;
      p.save(); p.translate(x, y); p.rotate(heading * Math.PI / 180);
      p.roundRect(-r, -width / 2, size, width, Math.min(width, size) * 0.3); p.restore();
    } else p.arc(x, y, r, 0, 7);
    const paint = style.ramp ? onRamp(style, value) : style.fill && colour(style.fill);
    if (paint && style.shape !== "ring") { p.fillStyle = paint; p.fill(); }
    if (style.stroke || style.shape === "ring") {
      p.strokeStyle = style.stroke ? colour(style.stroke) : paint; p.lineWidth = style.line || 0.08; p.stroke();
    }
    if (style.core) { p.beginPath(); p.arc(x, y, r * 0.36, 0, 7); p.fillStyle = colour(style.core); p.fill(); }
    if (style.show_value && progress >= 0) {
      p.font = `600 ${style.size * 0.54}px system-ui, sans-serif`; p.textAlign = "center"; p.textBaseline = "middle";
      p.lineWidth = style.size * 0.16; p.lineJoin = "round"; p.strokeStyle = dark.matches ? "#14161a" : "#ffffff";
      const label = `+${value.toFixed(2)}`, up = y - style.size * (0.75 + 0.5 * progress);
      p.strokeText(label, x, up); p.fillStyle = colour(style.stroke || style.fill); p.fillText(label, x, up);
    }
    p.globalAlpha = 1;
  }

  function drawMarks(frame, above, progress) {
    const m = frame.marks;
    for (let i = 0; i < m.length; i += MARK) {
      const style = styles[m[i + 2]];
      if (Boolean(style.above) === above) drawGlyph(pen, style, m[i], m[i + 1], m[i + 3], 0, progress);
    }
  }

  function draw() {
    const k = Math.min(last, Math.floor(time)), t = k === last ? 0 : time - k, frame = frames[k];
    const steady = calm.matches ? 0 : t, eased = steady * steady * (3 - 2 * steady);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(background, 0, 0);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    drawMarks(frame, false, -1);
    const next = k < last ? placesOf(k + 1) : new Map(), m = frame.movers;
    for (let i = 0; i < m.length; i += MOVER) {
      const j = next.get(m[i]), glide = styles[m[i + 3]].steady ? steady : eased;
      let x = m[i + 1], y = m[i + 2], heading = m[i + 4];
      if (j !== undefined && glide > 0) {
        const n = frames[k + 1].movers;
        x += (n[j + 1] - x) * glide; y += (n[j + 2] - y) * glide;
        heading += (((n[j + 4] - heading + 540) % 360) - 180) * glide;
      }
      drawGlyph(pen, styles[m[i + 3]], x, y, 1, heading, -1);
    }
    drawMarks(frame, true, calm.matches ? -1 : playing || t > 0 ? t : 0.2);
    if (text.textContent !== frame.text) text.textContent = frame.text;
    if (Number(scrubber.value) !== k) scrubber.value = k;
  }

  function resize() {
    const room = canvas.parentElement.clientWidth;
    const width = Math.min(room, window.innerHeight * 0.86 * scene.width / scene.height);
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    canvas.style.width = `${width}px`; canvas.style.margin = "0 auto";
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(width * ratio * scene.height / scene.width);
    scale = canvas.width / scene.width;
    background = document.createElement("canvas");
    background.width = canvas.width; background.height = canvas.height;
    const p = background.getContext("2d");
    p.scale(scale, scale);
    scene.background.forEach((shape) => drawShape(p, shape));
    draw();
  }

  function drawLegend() {
    const list = box.querySelector(".legend");
    list.replaceChildren();
    for (const entry of scene.legend) {
      const style = styles[entry.style], item = document.createElement("li");
      const swatch = document.createElement("canvas"), words = document.createElement("span");
      const wide = entry.range && style.ramp, width = wide ? 74 : 22, ratio = window.devicePixelRatio || 1;
      swatch.width = width * ratio; swatch.height = 22 * ratio;
      swatch.style.width = `${width}px`; swatch.style.height = "22px";
      const p = swatch.getContext("2d");
      p.scale(ratio, ratio);
      if (wide) {
        for (let x = 0; x < width; x++) { p.fillStyle = onRamp(style, x / (width - 1)); p.fillRect(x, 6, 1.5, 11); }
      } else {
        p.translate(11, 11);
        const unit = 17 / Math.max(style.size, 1e-6);
        p.scale(unit, unit);
        drawGlyph(p, { ...style, show_value: false }, 0, 0, 1, 0, -1);
      }
      words.textContent = entry.range ? `${entry.label}, ${entry.range[0]} to ${entry.range[1]}` : entry.label;
      item.append(swatch, words);
      list.append(item);
    }
  }

  function tick(now) {
    pending = 0;
    if (!playing || !visible) return;
    const passed = Math.max(0, Math.min(0.1, (now - before) / 1000));
    before = now;
    if (time >= last) {
      rest += passed;
      if (rest > REST_AT_END_S) { rest = 0; time = 0; }
    } else time = Math.min(last, time + passed * STEPS_PER_SECOND * Number(speedSelect.value));
    draw();
    pending = requestAnimationFrame(tick);
  }
  function wake() {
    if (!playing || !visible) return;
    before = performance.now();
    if (!pending) pending = requestAnimationFrame(tick);
  }
  function setPlaying(on) {
    if (on === playing) return;
    playing = on;
    playButton.textContent = on ? "Pause" : "Play";
    wake();
    draw();
  }
  function go(k) { untouched = false; setPlaying(false); time = Math.max(0, Math.min(last, k)); draw(); }
  const toggle = () => { untouched = false; if (!playing && time >= last) time = 0; setPlaying(!playing); };

  playButton.addEventListener("click", toggle);
  canvas.addEventListener("click", toggle);
  box.querySelector("[data-act=back]").addEventListener("click", () => go(Math.ceil(time) - 1));
  box.querySelector("[data-act=next]").addEventListener("click", () => go(Math.floor(time) + 1));
  scrubber.addEventListener("input", () => go(Number(scrubber.value)));
  box.addEventListener("keydown", (event) => {
    const tag = event.target.tagName;  // controls keep the keys that mean something to them
    const own = tag === "INPUT" || tag === "SELECT" || (tag === "BUTTON" && event.key === " ");
    const keys = { " ": toggle, ArrowLeft: () => go(Math.ceil(time) - 1), ArrowRight: () => go(Math.floor(time) + 1),
      Home: () => go(0), End: () => go(last) };
    if (own || !keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });

  scrubber.max = last;
  box.querySelector("h3").textContent = scene.title;
  drawLegend();
  resize();
  addEventListener("resize", resize);
  dark.addEventListener("change", () => { drawLegend(); resize(); });
  new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting;
    if (visible && untouched && !calm.matches) setPlaying(true);
    wake();
  }, { threshold: 0.35 }).observe(canvas);
})();
