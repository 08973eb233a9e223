"""Chromium without a window, driven through two pipes (its DevTools protocol): the standard library is enough.

    with Browser() as browser:
        browser.open("http://127.0.0.1:8080/")
        browser.js("document.title")
"""
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowLeft": (37, ""), "ArrowUp": (38, ""),
        "ArrowRight": (39, ""), "ArrowDown": (40, ""), "Home": (36, ""), "End": (35, ""), " ": (32, " ")}  # fmt: skip
WAIT_S = 60


def find():
    """The path of a Chromium, or None. TANDEM_CHROMIUM names one; an empty one: none."""
    chosen = os.environ.get("TANDEM_CHROMIUM")
    if chosen is not None:
        return shutil.which(chosen) if chosen else None
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    def __init__(self, width=1280, height=900):
        self.home = tempfile.mkdtemp()
        ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes: its descriptors 3 and 4
        command = [find(), "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
                   "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking",
                   "--disable-component-update", "--no-proxy-server", "--force-color-profile=srgb", f"--user-data-dir={self.home}"]  # fmt: skip
        shell = ["bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash", *command]
        self.process = subprocess.Popen(shell, pass_fds=(ours[0], theirs[1]), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True,
                                        env=dict(os.environ, HOME=self.home, TMPDIR=self.home,
                                                 XDG_CONFIG_HOME=self.home, XDG_CACHE_HOME=self.home))  # fmt: skip
        os.close(ours[0])
        os.close(theirs[1])
        self.to, self.of = ours[1], theirs[0]
        self.held, self.number, self.session = b"", 0, None
        self.events = []  # all that came, oldest first
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it with all its processes."""
        os.close(self.to)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.of)
        shutil.rmtree(self.home, ignore_errors=True)

    # ---- the protocol ----

    def read(self, until):
        """The next message, or None when the time is over."""
        while b"\0" not in self.held:
            ready, _, _ = select.select([self.of], [], [], max(0, until - time.monotonic()))
            if not ready:
                return None
            data = os.read(self.of, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has ended")
            self.held += data
        message, self.held = self.held.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        until = time.monotonic() + WAIT_S
        while True:
            message = self.read(until)
            if message is None:
                raise TimeoutError(method)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            if "method" in message:
                self.events.append(message)

    # ---- what a person does and sees ----

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, **features):
        """prefers_color_scheme="dark" …"""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": n.replace("_", "-"), "value": v} for n, v in features.items()])  # fmt: skip

    def scripts(self, on):
        """For pages that are opened from now on."""
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", f"{url} is not loaded")

    def js(self, expression):
        """Its value, of a promise what comes of it; again where a page went away meanwhile."""
        until = time.monotonic() + WAIT_S
        while True:
            try:
                result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
                                   userGesture=True)  # fmt: skip
                break
            except RuntimeError as error:
                if "navigated" not in str(error) and "context" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return result["result"].get("value")

    def wait(self, expression, message):
        until = time.monotonic() + WAIT_S
        while True:
            if self.js(f"!!({expression})"):
                return
            if time.monotonic() > until:
                raise AssertionError(f"{message}: waited for {expression}")
            time.sleep(0.02)

    def press(self, key, modifiers=0):
        code, text = KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
        common = dict(key=key, windowsVirtualKeyCode=code, modifiers=modifiers)
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def click(self, selector):
        """With the mouse, in the middle of the element."""
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.js(f"(() => {{ const r = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
                       " return [r.x + r.width / 2, r.y + r.height / 2] })()")  # fmt: skip
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[path])

    def complaints(self):
        """What the console and the page's own policy complained about."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"].get("exception", {}).get("description", params["exceptionDetails"]["text"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] == "error":
                found.append(json.dumps(params["args"]))
        return found
