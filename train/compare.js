// All clips of a sample start together on one clock, each behind a gain; to choose one is to open its gain and close the others.
"use strict";
const FADE = 0.005; // seconds in which one clip gives way to another: shorter ones click
const AHEAD = 0.03; // seconds until what was started sounds, so that all clips begin at the same moment
const SEEK = { ArrowLeft: -0.1, ArrowRight: 0.1 }; // of the clip
const find = (id) => document.getElementById(id);
const findFigure = (within, key) => within.querySelector("[data-clip='" + key + "']");
const samples = [...document.querySelectorAll(".sample")];
const contexts = new Map(); // by sample rate: at that of the clips nothing is resampled here
const state = { sample: null, playing: null, chosen: "", trial: null };

function readClip(figure) {
  const bytes = Uint8Array.from(atob(figure.querySelector("audio").src.split(",")[1]), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const audio = new Float32Array((bytes.length - 44) / 2); // after the header: PCM, 16 bits
  for (let i = 0; i < audio.length; i++) audio[i] = view.getInt16(44 + 2 * i, true) / 32768;
  return { name: figure.dataset.clip, gain: Number(figure.dataset.gain), rate: view.getUint32(24, true), audio };
}

function openContext(rate) {
  if (!contexts.has(rate)) contexts.set(rate, new AudioContext({ sampleRate: rate }));
  return contexts.get(rate);
}

function start(sample, part = 0) {
  stop();
  sample.clips ??= [...sample.querySelectorAll("figure")].map(readClip);
  const context = openContext(sample.clips[0].rate);
  context.resume();
  const frames = Math.max(...sample.clips.map((clip) => clip.audio.length));
  const playing = { context, seconds: frames / context.sampleRate, ways: [] };
  playing.begin = context.currentTime + AHEAD;
  for (const clip of sample.clips) {
    const buffer = context.createBuffer(1, frames, context.sampleRate);
    buffer.copyToChannel(clip.audio, 0);
    const source = new AudioBufferSourceNode(context, { buffer, loop: find("repeat").checked });
    const gain = new GainNode(context, { gain: 0 });
    source.connect(gain).connect(context.destination);
    source.start(playing.begin, part * playing.seconds);
    playing.ways.push({ clip, source, gain: gain.gain });
  }
  playing.begin -= part * playing.seconds;
  playing.ways[0].source.onended = () => { if (state.playing === playing) stop(); };
  if (state.sample !== sample) state.sample?.classList.remove("begun");
  Object.assign(state, { sample, playing });
  sample.classList.add("begun");
  hear(state.chosen);
  requestAnimationFrame(move);
}

function stop() {
  const playing = state.playing;
  state.playing = null;
  if (!playing) return;
  const now = playing.context.currentTime;
  for (const { source, gain } of playing.ways) {
    fade(gain, 0, now);
    source.stop(now + 2 * FADE);
  }
  show();
}

function fade(gain, to, now) {
  gain.cancelScheduledValues(now);
  gain.setValueAtTime(gain.value, now);
  gain.linearRampToValueAtTime(to, now + FADE);
}

function hear(name) {
  state.chosen = name;
  if (!state.playing) return;
  const now = state.playing.context.currentTime;
  const own = state.trial ? state.trial[name] : name; // in a blind test A, B and X stand for clips
  const level = (clip) => (find("match").checked || state.trial ? clip.gain : 1);
  for (const { clip, gain } of state.playing.ways) fade(gain, clip.name === own ? level(clip) : 0, now);
  show();
}

function choose(sample, name) {
  state.chosen = name;
  if (state.playing && state.sample === sample) hear(name); else start(sample);
}

function place() {
  const { context, begin, seconds } = state.playing;
  return Math.max(0, context.currentTime - begin) / seconds % 1;
}

function move() {
  if (!state.playing) return;
  state.sample.style.setProperty("--at", place());
  requestAnimationFrame(move);
}

function toggle(sample) {
  if (state.playing && state.sample === sample) return stop();
  if (!state.trial && !findFigure(sample, state.chosen)) state.chosen = "target";
  start(sample);
}

function show() { // which clip is heard, in words and on the buttons
  const on = state.playing !== null;
  for (const button of document.querySelectorAll("[data-hear]"))
    button.setAttribute("aria-pressed", on && state.trial !== null && button.dataset.hear === state.chosen);
  for (const sample of samples)
    for (const figure of sample.querySelectorAll("figure"))
      figure.querySelector("button").setAttribute("aria-pressed",
        on && state.trial === null && sample === state.sample && figure.dataset.clip === state.chosen);
  const name = state.trial ? state.chosen.toUpperCase() : state.sample && findFigure(state.sample, state.chosen)?.dataset.name;
  find("said").textContent = on ? "Playing " + name : "";
}

// --- Blind tests: X is A or B, and a person says which ---

const STORE = "dx7data blind " + find("samples").dataset.page;
let tests = load(); // each { a, b, trials: [{ sample, x, said }], revealed }

function load() {
  try { return JSON.parse(localStorage.getItem(STORE)) ?? []; } catch { return []; }
}

function keep() {
  try { localStorage.setItem(STORE, JSON.stringify(tests)); } catch { /* where a browser forbids it: until the page is closed */ }
}

function draw(count) {
  const limit = 2 ** 32 - 2 ** 32 % count; // numbers from here on would make some more likely than others
  const number = new Uint32Array(1);
  do crypto.getRandomValues(number); while (number[0] >= limit);
  return number[0] % count;
}

function begin() {
  const [a, b] = [find("a").value, find("b").value];
  let test = tests.find((each) => each.a === a && each.b === b && !each.revealed);
  if (!test) tests.push(test = { a, b, trials: [], revealed: false });
  ask(test);
  document.querySelector("[data-hear=x]").focus();
}

function ask(test) {
  stop();
  const both = samples.filter((sample) => [test.a, test.b].every((name) => findFigure(sample, name)));
  const sample = both[draw(both.length)];
  const x = ["a", "b"][draw(2)];
  state.trial = { test, sample, truth: x, a: test.a, b: test.b, x: test[x] };
  state.chosen = "x";
  update();
}

function answer(said) {
  const { test, sample, truth } = state.trial;
  test.trials.push({ sample: samples.indexOf(sample), x: truth, said });
  keep();
  ask(test);
}

function end() {
  stop();
  state.trial = null;
  state.chosen = "target";
  update();
}

function reveal() {
  for (const test of tests) test.revealed ||= test.trials.length > 0;
  keep();
  end();
  find("results").focus();
}

function guess(right, trials) { // the probability of at least so many by chance
  let term = 0.5 ** trials;
  let sum = 0;
  for (let k = 0; k <= trials; k++) {
    if (k >= right) sum += term;
    term *= (trials - k) / (k + 1);
  }
  return sum;
}

function update() {
  const trial = state.trial;
  find("setup").hidden = find("shown").hidden = trial !== null;
  find("trial").hidden = trial === null;
  find("reveal").disabled = !tests.some((test) => test.trials.length && !test.revealed);
  find("forget").disabled = !tests.length;
  if (trial) {
    find("which").textContent = "Trial " + (trial.test.trials.length + 1) + ", sample " + trial.sample.dataset.number + ":";
    find("done").textContent = "A is " + nameClip(trial.a) + ", B is " + nameClip(trial.b) + ". Which one is X?";
  }
  const revealed = tests.filter((test) => test.revealed);
  find("results").hidden = find("meaning").hidden = !revealed.length;
  find("results").querySelector("tbody").replaceChildren(...revealed.map((test) => {
    const right = test.trials.filter(({ x, said }) => x === said).length;
    const row = document.createElement("tr");
    const p = guess(right, test.trials.length).toPrecision(2);
    for (const text of [nameClip(test.a), nameClip(test.b), test.trials.length, right, p])
      row.insertCell().textContent = text;
    return row;
  }));
  show();
}

function nameClip(key) {
  return findFigure(document, key).dataset.name;
}

function canBegin() {
  return find("a").value !== find("b").value
    && samples.some((sample) => ["a", "b"].every((id) => findFigure(sample, find(id).value)));
}

// --- Set-up ---

function setUp() {
  document.documentElement.classList.add("script");
  find("listen").hidden = false;
  for (const sample of samples) {
    [...sample.querySelectorAll("figure")].forEach((figure, i) => {
      const button = document.createElement("button");
      button.type = "button";
      const caption = figure.querySelector("figcaption");
      const key = document.createElement("kbd");
      key.textContent = i + 1;
      button.append(...(i < 9 ? [key] : []), ...[...caption.childNodes].filter((node) => node.className !== "level"));
      caption.prepend(button);
      button.addEventListener("click", () => {
        if (state.playing && state.sample === sample && state.chosen === figure.dataset.clip) stop();
        else choose(sample, figure.dataset.clip);
      });
      figure.querySelector(".screen").addEventListener("click", (event) => {
        const box = event.currentTarget.getBoundingClientRect();
        state.chosen = figure.dataset.clip;
        start(sample, Math.max(0, (event.clientX - box.left) / box.width) % 1);
      });
    });
  }
  find("match").addEventListener("change", match);
  find("repeat").addEventListener("change", () => {
    for (const { source } of state.playing?.ways ?? []) source.loop = find("repeat").checked;
  });
  document.addEventListener("keydown", pressKey);
  match();
}

function match() {
  find("samples").classList.toggle("matched", find("match").checked);
  hear(state.chosen);
}

function pressKey(event) {
  const target = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("select, input:not([type=checkbox])")) return;
  if (!state.playing && !find("samples").contains(target)) return; // elsewhere on the page keys do what they always do
  const sample = state.trial?.sample ?? target.closest(".sample") ?? state.sample ?? samples[0];
  const names = state.trial ? ["a", "b", "x"] : [...sample.querySelectorAll("figure")].map((figure) => figure.dataset.clip);
  const name = /^[1-9]/.test(event.key) ? names[event.key - 1] : undefined;
  if (name) choose(sample, name);
  else if (state.trial && !event.repeat && (event.key === "a" || event.key === "b")) answer(event.key);
  else if (event.key === " " && !target.closest("button, input, summary, a")) toggle(sample);
  else if (state.playing && event.key in SEEK && !target.closest(".table")) start(state.sample, (place() + SEEK[event.key] + 1) % 1);
  else if (!state.trial && (event.key === "n" || event.key === "p")) go(sample, event.key === "n" ? 1 : -1);
  else return;
  event.preventDefault();
}

function go(sample, step) {
  const next = samples[samples.indexOf(sample) + step];
  if (!next) return;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  if (state.playing) toggle(next);
}

function setUpBlind() {
  find("tests").hidden = false;
  const clips = new Map([...document.querySelectorAll("[data-clip]")].map(({ dataset }) => [dataset.clip, dataset.name]));
  for (const [id, chosen] of [["a", 1], ["b", 2]]) {
    find(id).replaceChildren(...[...clips].map(([key, name], i) => new Option(name, key, false, i === chosen)));
    find(id).addEventListener("change", () => { find("begin").disabled = !canBegin(); });
  }
  find("begin").disabled = !canBegin();
  find("begin").addEventListener("click", begin);
  find("pause").addEventListener("click", () => { end(); find("begin").focus(); });
  find("reveal").addEventListener("click", reveal);
  find("forget").addEventListener("click", () => { tests = []; keep(); end(); });
  for (const button of document.querySelectorAll("[data-hear]"))
    button.addEventListener("click", () => choose(state.trial.sample, button.dataset.hear));
  for (const button of document.querySelectorAll("[data-answer]"))
    button.addEventListener("click", () => answer(button.dataset.answer));
  update();
}

if (samples.length) {
  setUp();
  setUpBlind();
}
