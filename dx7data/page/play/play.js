// The page: the bank, the panel, what is drawn of the patch and of what sounds, and takes for a model.
import { moveOctave, listen } from "./keyboard.js";
import * as sound from "./sound.js";

const NAME = 145; // where the ten bytes of the name begin
const ALGORITHM = 134;
const OPERATOR_BYTES = 21;
const OUTPUT_LEVEL = 16; // among those of an operator
const SHOWN = 300; // patches of the list at a time: more can be searched for

const $$ = (id) => document.getElementById(id);
const controls = [...document.querySelectorAll("[data-byte]")];
const operators = [...document.querySelectorAll("[data-operator].operator")];
let patch = new Uint8Array(155); // as edited
let stored = patch; // as it was chosen
let place = ""; // where it is from
let chosen = null; // the button of the patch in the list
let focused = null; // the control that data entry moves

const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
const readName = (from) => String.fromCharCode(...from.subarray(NAME)).replace(/[^ -~]/g, "?");
const isEdited = () => patch.some((byte, i) => byte !== stored[i]);
const isComparing = () => $$("compare").getAttribute("aria-pressed") === "true";

function say(sentence) {
  $$("message").textContent = sentence;
  $$("message").hidden = !sentence;
}
addEventListener("failed", (event) => say(event.detail));
addEventListener("unhandledrejection", (event) => say(event.reason.message));

// --- What sounds: the patch without the operators that are switched off ---

function sounding() {
  const heard = Uint8Array.from(isComparing() ? stored : patch);
  for (const operator of operators) {
    const on = operator.querySelector(".switch").getAttribute("aria-pressed") === "true";
    if (!on) heard[(6 - operator.dataset.operator) * OPERATOR_BYTES + OUTPUT_LEVEL] = 0;
  }
  return hex(heard);
}

const keyboard = listen(
  (key, velocity) => {
    say(""); // what went wrong with an earlier note
    const note = sound.noteOn(sounding(), key, velocity);
    record(note);
    return note;
  },
  (note) => { finish(note); sound.noteOff(note); },
  () => Number($$("velocity").value),
);

// --- The bank ---

const rows = (await (await sound.ask("patches")).json()).map(([name, file, index, algorithm], i) => {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const number = Object.assign(document.createElement("b"), { textContent: index });
  const title = Object.assign(document.createElement("span"), { className: "name", textContent: name || "(no name)" });
  button.append(number, title);
  button.title = `${file}:${index}, algorithm ${algorithm}`;
  button.addEventListener("click", () => choose(i));
  const row = document.createElement("li");
  row.append(button);
  return { row, button, name, place: `${file}:${index}`, text: `${name} ${file}:${index}`.toLowerCase() };
});

function search() {
  const wanted = $$("search").value.toLowerCase().split(/\s+/);
  const found = rows.filter(({ text }) => wanted.every((word) => text.includes(word)));
  $$("patches").replaceChildren(...found.slice(0, SHOWN).map(({ row }) => row));
  const more = found.length > SHOWN ? `, the first ${SHOWN} shown` : "";
  $$("found").textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}${more}`;
  allowTab();
}

// The list is one stop of Tab: the patch that was chosen, or the first one if that is not shown. Arrows choose another.
function allowTab() {
  const shown = [...$$("patches").querySelectorAll("button")];
  const one = shown.find((button) => button.hasAttribute("aria-current")) ?? shown[0];
  for (const button of shown) button.tabIndex = button === one ? 0 : -1;
}

$$("patches").addEventListener("keydown", (event) => {
  const shown = [...$$("patches").querySelectorAll("button")];
  const at = shown.indexOf(event.target);
  const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: shown.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  shown[to]?.focus();
  shown[to]?.click();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  event.preventDefault();
  $$("search").focus();
});

async function choose(i) {
  chosen?.removeAttribute("aria-current");
  chosen = rows[i].button;
  chosen.setAttribute("aria-current", "true");
  allowTab();
  const { patch: found } = await (await sound.ask(`patch/${i}`)).json();
  if (chosen !== rows[i].button) return; // another was chosen before the answer came
  stored = bytes(found);
  place = rows[i].place;
  for (const each of document.querySelectorAll(".switch")) each.setAttribute("aria-pressed", "true");
  edit(Uint8Array.from(stored));
}

// --- The panel ---

function edit(to) {
  patch = to;
  $$("compare").setAttribute("aria-pressed", "false");
  show();
}

// Everything that follows from the patch.
function show() {
  const shown = isComparing() ? stored : patch;
  for (const control of controls) {
    const value = shown[control.dataset.byte] + Number(control.dataset.shift);
    if (Number(control.value) !== value || control.value === "") control.value = value;
    control.disabled = isComparing();
  }
  if ($$("name").value.padEnd(10) !== readName(shown)) $$("name").value = readName(shown).trimEnd();
  $$("name").disabled = isComparing();
  $$("display-voice").textContent = `${readName(shown)}  ${isEdited() && !isComparing() ? "edited" : ""}`;
  $$("compare").disabled = $$("restore").disabled = !isEdited();
  $$("save").href = `voice/${hex(shown)}.syx`;
  $$("save").download = `${readName(shown).trim().replace(/[^\w. -]/g, "_") || "voice"}.syx`;
  showEntry();
  draw(shown);
}

function showEntry() {
  const entry = $$("entry");
  entry.disabled = !focused || isComparing();
  if (!focused) {
    $$("display-parameter").textContent = place;
    return;
  }
  const choices = focused.options;
  entry.min = choices ? 0 : focused.min;
  entry.max = choices ? choices.length - 1 : focused.max;
  entry.value = focused.value;
  const value = choices ? choices[focused.selectedIndex]?.text : focused.value;
  $$("display-parameter").textContent = `${focused.getAttribute("aria-label")} = ${value}`;
  entry.setAttribute("aria-valuetext", $$("display-parameter").textContent);
}

// A value outside its limits is not taken; when the control is left it shows the one that counts.
function take(control) {
  if (!control.checkValidity()) return;
  const to = Uint8Array.from(patch);
  to[control.dataset.byte] = Number(control.value) - Number(control.dataset.shift);
  edit(to);
}

for (const control of controls) {
  control.addEventListener("input", () => take(control));
  control.addEventListener("change", show);
  control.addEventListener("focus", () => { focused = control; showEntry(); });
}
$$("entry").addEventListener("input", () => { focused.value = $$("entry").value; take(focused); });
$$("name").addEventListener("input", () => {
  const to = Uint8Array.from(patch);
  const name = $$("name").value.replace(/[^ -~]/g, "?").padEnd(10);
  for (let i = 0; i < 10; i++) to[NAME + i] = name.charCodeAt(i);
  edit(to);
});
$$("compare").addEventListener("click", () => { $$("compare").setAttribute("aria-pressed", !isComparing()); show(); });
$$("restore").addEventListener("click", () => edit(Uint8Array.from(stored)));
$$("search").addEventListener("input", search);
for (const each of document.querySelectorAll(".switch"))
  each.addEventListener("click", () => each.setAttribute("aria-pressed", each.getAttribute("aria-pressed") !== "true"));

// --- Drawings: made by the server, the newest last ---

let drawing = null;
async function draw(shown) {
  const wanted = hex(shown);
  if (drawing) return (drawing.next = shown);
  drawing = {};
  try {
    const { algorithm, envelopes, frequencies } = await (await sound.ask("drawing", { patch: wanted })).json();
    $$("algorithm").innerHTML = algorithm; // our own server's, made of numbers
    $$("envelopes").innerHTML = envelopes;
    for (const each of operators) {
      each.querySelector(".frequency").textContent = frequencies[each.dataset.operator];
      const box = $$("algorithm").querySelector(`[data-operator="${each.dataset.operator}"]`);
      each.classList.toggle("carrier", box.classList.contains("carrier"));
      each.classList.toggle("off", box.classList.contains("off"));
    }
  } finally {
    const { next } = drawing;
    drawing = null;
    if (next) draw(next);
  }
}

// --- The spectrum: logarithmic from 20 Hz to 20 kHz ---

const canvas = $$("spectrum");
const levels = new Float32Array(sound.analyser.frequencyBinCount);
let still = false;

// A pixel of the canvas is one of the screen.
function fitSpectrum() {
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  still = false;
}
addEventListener("resize", fitSpectrum);
fitSpectrum();

function drawSpectrum() {
  requestAnimationFrame(drawSpectrum);
  sound.analyser.getFloatFrequencyData(levels);
  const silent = !levels.some((level) => level > sound.analyser.minDecibels);
  if (silent && still) return;
  still = silent;
  const { width, height } = canvas;
  const line = Math.max(1, Math.round(devicePixelRatio)); // a bar is two wide, and one from the next
  const paper = canvas.getContext("2d");
  const colours = getComputedStyle(canvas);
  paper.clearRect(0, 0, width, height);
  paper.fillStyle = colours.getPropertyValue("--grid");
  for (const hertz of [100, 1000, 10000]) paper.fillRect(Math.round((width * Math.log10(hertz / 20)) / 3), 0, line, height);
  paper.fillStyle = colours.getPropertyValue("--teal");
  const bin = sound.RATE / sound.analyser.fftSize;
  const { minDecibels: low, maxDecibels: high } = sound.analyser;
  for (let x = 0; x < width; x += 3 * line) {
    const [from, to] = [x, x + 3 * line].map((each) => (20 * 10 ** ((3 * each) / width)) / bin);
    let level = -Infinity;
    for (let i = Math.round(from); i <= Math.max(Math.round(from), Math.floor(to)); i++) level = Math.max(level, levels[i]);
    const part = Math.max(0, Math.min(1, (level - low) / (high - low)));
    paper.fillRect(x, height * (1 - part), 2 * line, height * part);
  }
}

// --- Sliders, octave, MIDI ---

function setVolume() {
  const decibels = Number($$("volume").value);
  sound.volume.gain.value = 10 ** (decibels / 20);
  $$("volume-shown").textContent = `${decibels} dB`;
}
$$("volume").addEventListener("input", setVolume);
$$("velocity").addEventListener("input", () => ($$("velocity-shown").textContent = $$("velocity").value));
$$("down").addEventListener("click", () => moveOctave(-12));
$$("up").addEventListener("click", () => moveOctave(12));
$$("midi").addEventListener("click", async () => {
  try {
    const count = await keyboard.connect();
    $$("midi").textContent = count ? `MIDI: ${count} connected` : "MIDI: nothing is connected";
  } catch {
    say("The browser does not allow Web MIDI here: use one that has it, and let this page use it");
  }
});

// --- A take: what is played while it is recorded, in blocks of the engine ---

let recorded = null; // { began, notes }
let latest = null;
const blockNow = () => Math.round((sound.context.currentTime - recorded.began) * (sound.RATE / sound.BLOCK));

function record(note) {
  if (!recorded) return;
  recorded.began ??= sound.context.currentTime;
  note.taken = { key: note.key, velocity: note.velocity, start: blockNow(), release: null };
  recorded.notes.push(note.taken);
}

function finish(note) {
  if (recorded && note.taken) note.taken.release = blockNow();
}

if ($$("record")) {
  $$("record").addEventListener("click", () => {
    if (!recorded) {
      recorded = { began: null, notes: [] };
    } else {
      for (const each of recorded.notes) each.release ??= blockNow();
      latest = recorded.notes;
      recorded = null;
      $$("take").textContent = `${latest.length} ${latest.length === 1 ? "note" : "notes"}`;
      $$("convert").disabled = !latest.length;
    }
    $$("record").setAttribute("aria-pressed", recorded !== null);
    $$("record").textContent = recorded ? "Stop" : "Record";
  });
  $$("convert").addEventListener("click", async () => {
    $$("convert").disabled = true;
    $$("take").textContent = "The model plays …";
    try {
      const clips = await (await sound.ask("take", { patch: sounding(), notes: latest })).json();
      for (const each of document.querySelectorAll("[data-clip]")) each.src = `data:audio/wav;base64,${clips[each.dataset.clip]}`;
      $$("clips").hidden = false;
      $$("take").textContent = "Done";
    } catch (error) {
      $$("take").textContent = error.message;
    }
    $$("convert").disabled = false;
  });
}

search();
moveOctave(0);
await choose(0);
drawSpectrum();
document.documentElement.dataset.ready = "";
