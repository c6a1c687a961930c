"""Latency of `dx7data play`: from a key of the computer to the first sample of its note, and what the server takes of it.

    PYTHONPATH=.:tests python benchmarks/bench_play.py

It needs Chromium, as the tests of the page do. The browser and the sound card add their own latency; the browser reports it.
"""

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

from browser import open_tab

from dx7data.page.play.notes import render_stretch
from dx7data.page.play.server import Instrument, open_server, warm_up
from dx7data.patches import bank

NOTES = 40
PIECES = (16384, 65536, 262144)  # samples: the first pieces that the page asks for

# When a key goes down, and when the first sample that is not zero passes the volume; the clock of the page, in ms.
PROBE = """(async () => {
  const sound = window.sound = await import(new URL("sound.js", location));
  const code = `registerProcessor("onset", class extends AudioWorkletProcessor {
    constructor() { super(); this.quiet = 400; }
    process([[samples]]) {
      const sounds = samples?.some((sample) => sample !== 0);
      if (sounds && this.quiet >= 400) this.port.postMessage(null);
      this.quiet = sounds ? 0 : this.quiet + 1;
      return true;
    } });`;
  await sound.context.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const onset = new AudioWorkletNode(sound.context, "onset");
  sound.volume.connect(onset).connect(sound.context.destination);
  window.delays = [];
  let began;
  addEventListener("keydown", () => { began = performance.now(); }, true);
  onset.port.onmessage = () => delays.push(performance.now() - began);
  await sound.context.resume();
})()"""


def main() -> None:
    example = bank.load_example()
    stored = example.patches[4]
    warm_up()
    for length in PIECES:
        took = []
        for key in range(40, 60):
            began = time.perf_counter()
            render_stretch(stored, key, 100, None, 0, length)
            took.append(1000 * (time.perf_counter() - began))
        print(f"the engine renders {length / 48:.0f} ms of a note in {statistics.median(took):.1f} ms")

    server, address = open_server(Instrument(example, None))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, open_tab(Path(folder), 300) as tab:
        tab.call("Page.setBypassCSP", enabled=True)
        tab.open(address, "document.documentElement?.dataset.ready !== undefined")
        tab.run("document.querySelectorAll('#patches button')[12].click()")  # a drum: it ends soon
        tab.run("new Promise((done) => setTimeout(done, 500))")
        tab.run(PROBE)
        for _ in range(NOTES):
            tab.press("KeyA", "a")
            tab.run("new Promise((done) => setTimeout(done, 100))")
            tab.press("KeyA", "a", down=False)
            tab.run("new Promise((done) => setTimeout(done, 2400))")
        report = json.loads(
            tab.run(
                "JSON.stringify({ delays, waited: sound.waited, base: sound.context.baseLatency, "
                "output: sound.context.outputLatency })"
            )
        )
    server.shutdown()
    delays = sorted(report["delays"])
    print(f"{len(delays)} of {NOTES} notes were heard: from key-down to their first sample")
    print(f"  median {statistics.median(delays):.1f} ms, 90 % within {delays[int(0.9 * len(delays))]:.1f} ms")
    print(f"  notes had to wait for {report['waited'] / 48:.0f} ms in all for pieces that were late")
    print(f"  the browser adds {1000 * report['base']:.1f} ms, and says {1000 * report['output']:.1f} ms for the output")


if __name__ == "__main__":
    main()
