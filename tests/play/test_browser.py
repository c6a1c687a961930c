"""The page in a real browser: what is heard is what `dx7data wav` writes, to the sample; all of it works by keyboard."""

import json
import threading

import numpy as np
import pytest
from browser import open_tab
from play.test_notes import write_wav

from dx7data.engine.tables import BLOCK
from dx7data.patches import bank, patch, sysex
from dx7data.play.notes import RATE
from dx7data.play.server import Instrument, open_server, warm_up

pytestmark = [pytest.mark.integration, pytest.mark.slow]

BANK = bank.load_example()
HEX = BANK.patches[0].tobytes().hex()
READY = "document.documentElement?.dataset.ready !== undefined"
WAIT = "new Promise((done) => setTimeout(done, {}))"

# What passes the volume, sample by sample; and what the page asked the server for.
RECORDER = """(async () => {
  const sound = window.sound = await import(new URL("sound.js", location));
  const code = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[samples]]) { if (samples) this.port.postMessage(samples); return true; } });`;
  await sound.context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const recorder = new AudioWorkletNode(sound.context, "recorder");
  window.heard = [];
  window.asked = [];
  recorder.port.onmessage = ({ data }) => heard.push(data);
  sound.volume.connect(recorder).connect(sound.context.destination);
  const fetch = window.fetch;
  window.fetch = (name, options) => {
    if (name === "note") asked.push(JSON.parse(options.body));
    return fetch(name, options);
  };
  await sound.context.resume();
  window.playTogether = async (asked) => {
    const node = new AudioWorkletNode(sound.context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    node.connect(sound.volume);
    const answers = await Promise.all(asked.map((note) => sound.ask("note", note)));
    const notes = await Promise.all(answers.map(async (answer) => new Int16Array(await answer.arrayBuffer())));
    notes.forEach((samples, id) => node.port.postMessage({ call: "write", id, first: 0, samples, whole: true }));
    await new Promise((done) => setTimeout(done, 1500));
  };
})()"""
HEARD = """(async () => {
  const whole = [];
  const pieces = [...heard];
  await new Promise((done) => setTimeout(done, 500)); // until the page knows how long notes had to wait in these pieces
  for (const piece of pieces) for (const sample of piece) whole.push(Math.round(sample * 32768 * 1024) / 1024);
  return JSON.stringify({ heard: whole, asked, waited: sound.waited, rate: sound.context.sampleRate });
})()"""


@pytest.fixture(scope="module")
def address():
    warm_up()  # as the command does
