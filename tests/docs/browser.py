"""A headless Chromium, driven through the DevTools protocol over a pair of pipes."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


def executable():
    """The path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of the browser. `faults` collects its errors."""

    def __init__(self, path, profile, origin):
        self.origin, self.faults, self.events, self.number, self.rest = origin, [], [], 0, b""
        there_read, self.write_end = os.pipe()
        self.read_end, there_write = os.pipe()
        # The browser reads the protocol from descriptor 3 and writes it to 4.
        shell = f'exec "$@" 3<&{there_read} 4>&{there_write} >/dev/null 2>&1'
        command = ["bash", "-c", shell, "chromium", path, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=(there_read, there_write))
        os.close(there_read)
        os.close(there_write)
        self.session = None
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self):
        with contextlib.suppress(Exception):
            self.send("Browser.close")
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)

    def send(self, method, **params):
        """Call a method and wait for its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for answer in self.receive(1.0):
                if answer.get("id") == self.number:
                    assert "error" not in answer, f"{method}: {answer['error']}"
                    return answer["result"]
        raise TimeoutError(method)

    def receive(self, seconds):
        """The messages that arrive within `seconds`; events are recorded."""
        if select.select([self.read_end], [], [], seconds)[0]:
            self.rest += os.read(self.read_end, 2**20)
        *whole, self.rest = self.rest.split(b"\0")
        messages = [json.loads(m) for m in whole]
        for message in messages:
            if "method" in message:
                self.events.append(message["method"])
                self.judge(message["method"], message["params"])
        return messages

    def judge(self, method, params):
        if method == "Runtime.exceptionThrown":
            self.faults.append(params["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.faults.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith((self.origin, "data:", "blob:")):
                self.faults.append(f"it requests {url}")

    def open(self, path):
        """Load a page and return its faults."""
        self.faults, self.events = [], []
        answer = self.send("Page.navigate", url=f"{self.origin}/{path}")
        assert "errorText" not in answer, answer
        self.until(lambda: "Page.loadEventFired" in self.events)
        self.receive(0.05)
        return self.faults

    def until(self, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            self.receive(0.05)

    def ask(self, expression):
        """The value of a JavaScript expression on the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")
