// Plays notes, from samples that the page fetches. Whole numbers of 1/32768 are added up as floats, which keep them exact.
"use strict";

const BLOCK = 64; // samples of the engine between two values of its envelopes: a key goes up at such a border
const REPORT = 8; // quanta of 128 samples between two reports of how far each note is

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.notes = new Map(); // id -> { samples, position, whole }
    this.quanta = 0;
    this.waited = 0; // samples for which a note had to wait for more
    this.port.onmessage = ({ data }) => this[data.call](data);
  }

  // Samples of a note from `first` on, which replace what is known of it from there; `whole`: it ends with them.
  write({ id, first, samples, whole }) {
    const note = this.notes.get(id) ?? { samples: new Int16Array(0), position: 0 };
    if (first < note.position || first > note.samples.length) {
      this.port.postMessage({ id, late: true, have: note.samples.length });
      return;
    }
    const joined = new Int16Array(first + samples.length);
    joined.set(note.samples.subarray(0, first));
    joined.set(samples, first);
    this.notes.set(id, { samples: joined, position: note.position, whole });
  }

  // The key goes up: at which block, if the page needs `margin` samples to fetch what comes then?
  release({ id, margin }) {
    const note = this.notes.get(id);
    if (note) this.port.postMessage({ id, release: Math.ceil((note.position + margin) / BLOCK) });
  }

  drop({ id }) {
    this.notes.delete(id);
  }

  process(_, [[out]]) {
    for (const [id, note] of this.notes) {
      const count = Math.min(out.length, note.samples.length - note.position);
      for (let i = 0; i < count; i++) out[i] += note.samples[note.position + i] / 32768;
      note.position += count;
      if (count === out.length) continue;
      if (note.whole) {
        this.notes.delete(id);
        this.port.postMessage({ id, ended: true });
      } else {
        this.waited += out.length - count;
      }
    }
    if (++this.quanta % REPORT === 0 && this.notes.size) {
      const positions = [...this.notes].map(([id, { position, samples }]) => [id, position, samples.length]);
      this.port.postMessage({ positions, waited: this.waited });
    }
    return true;
  }
}

registerProcessor("player", Player);
