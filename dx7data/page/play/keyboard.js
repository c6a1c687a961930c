// Ways to press keys: mouse and touch, Tab and Space, the computer's keys, Web MIDI. All end in press and lift.

const ROW = ["KeyA", "KeyW", "KeyS", "KeyE", "KeyD", "KeyF", "KeyT", "KeyG", "KeyY", "KeyH", "KeyU", "KeyJ", "KeyK", "KeyO", "KeyL", "KeyP"];
const PEDAL = 64; // the MIDI controller

const strip = document.querySelector(".keys");
const keys = new Map([...strip.children].map((button) => [Number(button.dataset.key), button]));
const [lowest, highest] = [Math.min(...keys.keys()), Math.max(...keys.keys())];
let octave = 60; // the key that A plays

// on(key, velocity) starts a note and gives it, off(note) ends it; velocity() is that of keys that can't tell.
export function listen(on, off, velocity) {
  const pressed = new Map(); // what presses, such as a finger -> [key, note]
  const kept = []; // notes that the pedal keeps
  let pedal = false;

  function press(source, key, loud = velocity()) {
    if (key < 0 || key > 127 || pressed.get(source)?.[0] === key) return;
    lift(source);
    pressed.set(source, [key, on(key, loud)]);
    show(key);
  }

  function lift(source) {
    const [key, note] = pressed.get(source) ?? [];
    if (!note) return;
    pressed.delete(source);
    if (pedal) kept.push(note);
    else off(note);
    show(key);
  }

  function show(key) {
    keys.get(key)?.classList.toggle("down", [...pressed.values()].some(([each]) => each === key));
  }

  function pedalTo(down) {
    pedal = down;
    if (!down) kept.splice(0).forEach(off);
  }

  // Mouse and touch: a finger that slides plays each key that it comes to.
  const keyAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-key]");
  strip.addEventListener("pointerdown", (event) => {
    const button = keyAt(event);
    if (!button || event.button) return;
    event.preventDefault();
    focus(button);
    strip.setPointerCapture(event.pointerId);
    press(event.pointerId, Number(button.dataset.key));
  });
  strip.addEventListener("pointermove", (event) => {
    const button = pressed.has(event.pointerId) && keyAt(event);
    if (button) press(event.pointerId, Number(button.dataset.key));
  });
  for (const type of ["pointerup", "pointercancel"]) strip.addEventListener(type, (event) => lift(event.pointerId));

  // Keys of the computer. One of the strip has the focus at a time; arrows move it.
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const button = event.target.closest?.(".keys [data-key]");
    if (button && ["Space", "Enter"].includes(event.code)) {
      event.preventDefault();
      if (!event.repeat) press(event.code, Number(button.dataset.key));
    } else if (button && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.code)) {
      event.preventDefault();
      const key = Number(button.dataset.key);
      const to = { ArrowLeft: key - 1, ArrowRight: key + 1, Home: lowest, End: highest }[event.code];
      focus(keys.get(to) ?? button);
    } else if (!event.target.closest?.("select, input[type=search], input:not([type])") && !event.repeat) {
      const step = ROW.indexOf(event.code);
      if (step >= 0) press(event.code, octave + step);
      else if (event.code === "KeyZ") moveOctave(-12);
      else if (event.code === "KeyX") moveOctave(12);
    }
  });
  addEventListener("keyup", (event) => lift(event.code));
  addEventListener("blur", () => [...pressed.keys()].forEach(lift)); // the window will not hear of keys that go up

  // Web MIDI
  return {
    async connect() {
      const access = await navigator.requestMIDIAccess();
      const attach = () => access.inputs.forEach((input) => (input.onmidimessage = ({ data }) => this.receive(input.id, data)));
      access.onstatechange = attach;
      attach();
      return access.inputs.size;
    },
    receive(port, [status, first, second]) {
      const source = `${port} ${status & 15} ${first}`;
      const kind = status >> 4;
      if (kind === 9 && second) press(source, first, second);
      else if (kind === 9 || kind === 8) lift(source);
      else if (kind === 11 && first === PEDAL) pedalTo(second >= 64);
    },
  };
}

function focus(button) {
  for (const each of keys.values()) each.tabIndex = each === button ? 0 : -1;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "nearest", inline: "nearest" });
}

export function moveOctave(by) {
  octave = Math.max(lowest, Math.min(highest - 12, octave + by));
  document.getElementById("octave").textContent = `C ${octave}`;
  for (const [key, button] of keys) button.dataset.typed = ROW[key - octave]?.at(-1) ?? "";
  strip.scrollLeft = keys.get(octave).offsetLeft - strip.offsetLeft;
}
