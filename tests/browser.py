"""A browser for tests: Chromium without a window, driven through its DevTools protocol over a pair of pipes."""

import base64
import json
import os
import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "headless_shell")


def find_browser():
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and CHROMIUM names none")
    return found


@contextmanager
def open_tab(profile, seconds=90):
    """A Tab; after so many seconds its browser is ended, so that no test waits for ever."""
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += [
        "--autoplay-policy=no-user-gesture-required",
        "--disable-audio-output",
        "--remote-debugging-pipe",
        "about:blank",
    ]

    def place():  # the browser reads descriptor 3 and writes descriptor 4
        low, high = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(low, 3)
        os.dup2(high, 4)

    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=place
    )
    os.close(theirs_in)
    os.close(theirs_out)
    limit = threading.Timer(seconds, process.kill)
    limit.start()
    try:
        with os.fdopen(ours_in, "rb") as heard, os.fdopen(ours_out, "wb") as said:
            yield Tab(heard, said)
    finally:
        limit.cancel()
        process.kill()
        process.wait()


class Tab:
    """The browser's first page."""

    def __init__(self, heard, said):
        self._heard, self._said, self._count, self._session = heard, said, 0, None
        self.logged = []  # what the page said on its console, and its errors
        target = next(each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """One command of the protocol, and what it gives."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._said.write(json.dumps(message).encode() + b"\0")
        self._said.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self):
        data = bytearray()
        while (byte := self._heard.read(1)) != b"\0":
            assert byte, f"the browser has ended, or was ended; the page said {self.logged}"
            data += byte
        answer = json.loads(data)
        if answer.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.logged.append(answer["params"])
        return answer

    def open(self, address, ready="document.readyState === 'complete'"):
        self.call("Page.navigate", url=address)
        self.wait(ready)

    def wait(self, condition):
        """Until an expression in the page is true."""
        self.run(f"new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})")

    def run(self, script):
        """The value of an expression in the page; a promise's, when it has one."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def set_screen(self, width, height, dark=False, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, code, key, down=True):
        """A key of the computer goes down, or up."""
        self.call("Input.dispatchKeyEvent", type="keyDown" if down else "keyUp", code=code, key=key)

    def type(self, key):
        """A key of the computer goes down and up, with what it does of itself: a letter is entered, Tab moves."""
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}.get(key) or ord(key.upper())
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self):
        """The screen as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


# --- Rules for pages that all can use, by axe-core, which is fetched when a test wants it and is no part of dx7data ---

_AXE = "axe-core@4.14.1"


def load_axe(folder):
    """Its source; kept in a folder, or the test is skipped."""
    path = folder / f"{_AXE}.js"
    if not path.exists():
        npm = shutil.which("npm")
        if not npm:
            pytest.skip("npm, which fetches axe-core, is not installed")
        done = subprocess.run([npm, "pack", _AXE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.skip(f"npm could not fetch {_AXE}: {done.stderr.strip()[-200:]}")
        with tarfile.open(folder / done.stdout.split()[-1]) as tar:
            path.write_bytes(tar.extractfile("package/axe.min.js").read())
    return path.read_text()


def find_violations(tab, axe):
    """What axe-core objects to, with the elements; as a debugger, it is not held back by the page's policy."""
    return tab.run(f"""{axe};
      axe.run({{ resultTypes: ["violations"] }}).then(({{ violations }}) =>
        violations.map(({{ id, nodes }}) => [id, nodes.slice(0, 3).map((node) => node.html.slice(0, 200))]))""")
