"""Pictures of pages by Chromium, driven over the pipe of its developer tools."""

import base64
import fcntl
import json
import os
import subprocess
import time
from pathlib import Path

# Pixels of a picture for each one of the page, so that text is sharp on dense screens.
SCALE = 2
# A page that isn't drawn by then is broken, in seconds.
DRAWN_WITHIN = 30


class Chromium:
    """A browser with one page."""

    def __init__(self, place: Path):
        to_browser, ours_out = os.pipe()
        ours_in, from_browser = os.pipe()

        def pipes() -> None:
            # The browser reads commands from 3 and writes answers to 4; the pipes may have these numbers the other way round.
            reads, writes = (fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in (to_browser, from_browser))
            os.dup2(reads, 3)
            os.dup2(writes, 4)

        arguments = ["--headless=new", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={place}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        self.process = subprocess.Popen(
            ["chromium", *arguments], preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self.out, self.answers = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self.number = 0
        target = self.call("Target.createTarget", url="about:blank", session=None)["targetId"]
        self.session = None
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, session: str | None = "own", **params) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session == "own" and getattr(self, "session", None):
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def message(self) -> dict:
        text = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("chromium ended")
            text += byte
        return json.loads(text)

    def evaluate(self, script: str):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def shoot(self, url: str, scheme: str, width: int, drawn: str, end: str, to: Path) -> None:
        """Writes a picture of a page, as far as the width and height that the script `end` answers.

        It is taken once the script `drawn` is true, and the end stays where it is.
        """

        def view(width: int, height: int) -> None:
            self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=SCALE, mobile=False)

        view(width, 1000)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        latest = time.monotonic() + DRAWN_WITHIN
        last, now = None, None
        while not now or last != now:
            if time.monotonic() > latest:
                raise RuntimeError(f"{url} is not drawn within {DRAWN_WITHIN} s: {self.evaluate('document.body.innerText')}")
            time.sleep(0.2)
            is_drawn = self.evaluate(f"document.readyState === 'complete' && Boolean({drawn})")
            last, now = now, self.evaluate(end) if is_drawn else None
        view(*now)
        picture = self.call("Page.captureScreenshot", format="png")["data"]
        to.write_bytes(base64.b64decode(picture))

    def close(self) -> None:
        self.call("Browser.close", session=None)
        self.process.wait()
