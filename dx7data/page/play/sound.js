// Notes: fetched from the engine piece by piece, played by player.js, and heard through the volume and the analyser.

export const RATE = 48000;
export const BLOCK = 64; // samples between two values of an envelope: a key goes up at such a border
const FIRST = 16384; // samples of a note's first piece, and of the first after its release: rendered in about a millisecond
const GROWTH = 4; // each piece ends so many times as late as the one before, for the engine begins each time from the note's start
const LIMIT = 60 * RATE; // of a note, as in notes.py
const AHEAD = RATE; // samples that should be there before they are played
const MARGIN = 1024; // samples from key-up to the earliest block that the release may begin at: 21 ms
const VOICES = 16; // as a DX7 has

export const context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
export const volume = new GainNode(context);
export const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0.6, minDecibels: -110, maxDecibels: -10 });
volume.connect(analyser).connect(context.destination);

const notes = new Map(); // id -> a note that sounds
let last = 0;
export let waited = 0; // samples for which notes had to wait for the engine

const player = context.audioWorklet.addModule("player.js").then(() => {
  const node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
  node.port.onmessage = ({ data }) => hear(data);
  node.connect(volume);
  return node;
});

// An answer of the server; an Error with its sentence when it refuses.
export async function ask(name, body) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(name, options);
  } catch {
    throw new Error("dx7data no longer answers: start it again in its terminal");
  }
  if (!response.ok) throw new Error((await response.json()).error);
  return response;
}

// A key goes down; gives what noteOff wants. `patch`: hexadecimal digits.
export function noteOn(patch, key, velocity) {
  context.resume();
  const note = { id: ++last, patch, key, velocity, release: null, have: 0, took: 0, turn: 0, busy: false, up: false };
  notes.set(note.id, note);
  const held = [...notes.values()].filter((each) => !each.up);
  if (held.length > VOICES) noteOff(held[0]);
  note.ready = fetchMore(note);
  return note;
}

// The key goes up: the player says at which block that can still be.
export async function noteOff(note) {
  if (note.up) return;
  note.up = true;
  await note.ready;
  askRelease(note, Math.max(MARGIN, (note.took * RATE) / 1000));
}

async function askRelease(note, margin) {
  note.margin = margin;
  (await player).port.postMessage({ call: "release", id: note.id, margin });
}

function fetchMore(note) {
  const stop = note.have ? Math.min(GROWTH * note.have, LIMIT) : FIRST;
  return fetchPiece(note, note.have, stop);
}

// What follows the release: from that block on, or from where the samples end that are there.
function fetchRelease(note, block) {
  note.release = block;
  const from = block * BLOCK;
  return fetchPiece(note, Math.min(from, note.have), Math.min(from + FIRST, LIMIT));
}

// A piece takes the place of one that is still on its way: that was asked for before the key went up.
async function fetchPiece(note, first, stop) {
  const { id, patch, key, velocity, release } = note;
  const turn = ++note.turn;
  note.busy = true;
  try {
    const began = performance.now();
    const answer = await ask("note", { patch, key, velocity, release, first, stop });
    const samples = new Int16Array(await answer.arrayBuffer());
    if (turn !== note.turn) return;
    note.took = performance.now() - began;
    note.busy = false;
    note.have = first + samples.length;
    const silent = release !== null && samples.every((sample) => sample === 0);
    (await player).port.postMessage({ call: "write", id, first, samples, whole: silent || note.have >= LIMIT });
  } catch (error) {
    notes.delete(id);
    (await player).port.postMessage({ call: "drop", id });
    dispatchEvent(new CustomEvent("failed", { detail: error.message }));
  }
}

function hear({ id, release, late, have, ended, positions = [], waited: samples }) {
  const note = notes.get(id);
  if (samples !== undefined) waited = samples;
  if (note && release !== undefined) fetchRelease(note, release);
  if (note && late) {
    Object.assign(note, { have, release: null }); // that release was missed: the note is held until another
    askRelease(note, 2 * note.margin);
  }
  if (ended) notes.delete(id);
  for (const [id, position, have] of positions) {
    const note = notes.get(id);
    const ahead = have - position;
    if (note && !note.busy && have === note.have && (ahead < AHEAD || ahead < have / 2) && have < LIMIT) fetchMore(note);
  }
}
