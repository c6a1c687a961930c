// Plays the clips, moves between samples, and shows those that are searched for.
// One player for all clips: a browser allows only some dozens. Without this script each clip shows the browser's own controls.
"use strict";
const root = document.documentElement;
root.classList.add("script");
const all = [...document.querySelectorAll("article")];
const player = new Audio();
let playing = null; // the clip that the player has, if any
let here = null; // the sample that was moved to or played last
let clip = "target"; // which of its clips

// --- Playing: a button and the picture of its clip carry the same data-clip ---

const buttonOf = (row) => row.closest("article").querySelector(`button[data-clip="${row.dataset.clip}"]`);
const rowOf = (button) => button.closest("article").querySelector(`.clip[data-clip="${button.dataset.clip}"]`);

function showPosition() {
  if (!playing) return;
  const part = player.duration ? player.currentTime / player.duration : 0;
  for (const each of [playing.closest(".timed"), buttonOf(playing)]) each.style.setProperty("--at", part);
  if (!player.paused) requestAnimationFrame(showPosition);
}

function mark(on) {
  if (playing) buttonOf(playing).setAttribute("aria-pressed", on);
}

function choose(row) {
  here = row.closest("article");
  if (row === playing) return;
  player.pause();
  mark(false);
  if (playing) for (const each of [playing.closest(".timed"), buttonOf(playing)]) each.classList.remove("begun");
  playing = row;
  for (const each of [row.closest(".timed"), buttonOf(row)]) each.classList.add("begun");
  if (!row.dataset.clip.startsWith("prefix")) clip = row.dataset.clip;
  player.src = row.querySelector("audio").src;
}

function toggle(row) {
  const stop = row === playing && !player.paused;
  choose(row);
  if (stop) player.pause();
  else start();
}

function start() {
  player.play().catch((error) => { if (error.name !== "AbortError") throw error; }); // it was paused before it began
}

function seek(seconds) {
  const set = () => { player.currentTime = Math.max(0, Math.min(player.duration, seconds(player))); showPosition(); };
  if (player.readyState > 0) set();
  else player.addEventListener("loadedmetadata", set, { once: true });
}

for (const row of document.querySelectorAll(".clip")) {
  buttonOf(row).addEventListener("click", () => toggle(row));
  row.querySelector(".screen").addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    choose(row);
    seek((own) => own.duration * (event.clientX - box.left) / box.width);
    start();
  });
}
player.addEventListener("play", () => { mark(true); showPosition(); });
player.addEventListener("pause", () => mark(false));

// --- Keys ---

// The next sample that is shown, or the previous one; its button gets the focus, and it plays if another has been playing.
function move(by) {
  const shown = all.filter((each) => !each.hidden);
  const at = shown.indexOf(document.activeElement.closest("article") ?? here);
  const next = shown[at < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, at + by))];
  if (!next) return;
  here = next;
  const button = next.querySelector(`.listen [data-clip="${clip}"]`);
  button.focus({ preventScroll: true });
  next.scrollIntoView();
  if (!player.paused && rowOf(button) !== playing) toggle(rowOf(button));
}

addEventListener("keydown", (event) => {
  const at = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || at.matches("input, select")) return;
  const button = at.closest("button[data-clip]") ?? (at.matches("button, summary, a") ? null : current());
  const row = button && rowOf(button);
  const step = { ArrowLeft: -0.1, ArrowRight: 0.1 }[event.key];
  const by = { j: 1, k: -1 }[event.key.toLowerCase()];
  if (by) move(by);
  else if (event.key === "/") document.getElementById("search").focus();
  else if (event.key === " " && button && button !== at) toggle(row); // of itself a button knows Space
  else if (step && button) { choose(row); seek((own) => own.currentTime + step * own.duration); }
  else return;
  event.preventDefault();
});

// The button of the sample that was moved to or played last, or of the first one.
function current() {
  const sample = here && !here.hidden ? here : all.find((each) => !each.hidden);
  return sample?.querySelector(`.listen [data-clip="${clip}"]`);
}

// --- Search and filters ---

const form = document.querySelector("form");
const [search, filters] = [form.querySelector("input"), [...form.querySelectorAll("select")]];

function show() {
  const words = search.value.toLowerCase().split(/\s+/);
  for (const each of all) {
    const named = words.every((word) => each.dataset.name.includes(word));
    each.hidden = !named || !filters.every(({ name, value }) => !value || each.dataset[name].split("\n").includes(value));
  }
  for (const pair of document.querySelectorAll(".pair")) pair.hidden = [...pair.children].every((each) => each.hidden);
  const count = all.filter((each) => !each.hidden).length;
  const whole = count === all.length;
  document.getElementById("found").textContent = whole ? "" : `${count || "none"} of ${all.length} here`;
  form.querySelector("[type=reset]").hidden = whole;
  if (playing?.closest("article").hidden) player.pause();
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => { setTimeout(show); search.focus(); });

// A link to a sample shows it, whatever was searched for or folded.
function follow() {
  const sample = location.hash && document.getElementById(location.hash.slice(1));
  if (!sample) return;
  if (sample.hidden) form.reset();
  setTimeout(() => {
    sample.querySelector("details").open = true;
    here = sample;
    current().focus({ preventScroll: true });
    sample.scrollIntoView();
  });
}
addEventListener("hashchange", follow);

// --- The screen: short on a phone; and how large its pixels are, for spectrograms ---

function measure() {
  root.style.setProperty("--pixel", `${1 / devicePixelRatio}px`);
}
addEventListener("resize", measure);
measure();
if (matchMedia("(max-width: 40rem)").matches)
  for (const each of all) each.querySelector("details").open = false;
follow();
