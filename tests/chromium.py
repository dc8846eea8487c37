"""A headless Chromium, spoken to in its own DevTools protocol over a pipe: no driver, no package, no socket."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
SHIFT, CONTROL = 8, 2


def program() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser with one tab; everything in it is lost with it."""

    def __init__(self, folder: Path) -> None:
        (commands_out, commands_in), (events_out, events_in) = os.pipe(), os.pipe()
        arguments = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --remote-debugging-pipe --no-first-run "
            "--disable-background-networking --disable-component-update --disable-sync --force-prefers-reduced-motion "
            f"--user-data-dir={folder / 'profile'} about:blank"
        ).split()
        # Chromium reads commands from its descriptor 3 and writes to 4.
        script = 'exec "$0" "$@" 3<&"$IN" 4>&"$OUT"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, str(program()), *arguments],
            pass_fds=(commands_out, events_in),
            env=os.environ | {"IN": str(commands_out), "OUT": str(events_in), "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_out)
        os.close(events_in)
        self._commands = os.fdopen(commands_in, "wb", buffering=0)
        self._events = os.fdopen(events_out, "rb")
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._number = 0
        self.addresses: list[str] = []
        """Of every request the tab made."""
        self.complaints: list[str] = []
        """Errors of scripts, of the content security policy, and of requests that failed."""
        self.dialogs: list[str] = []
        """What the tab asked, such as `beforeunload` or a question's text; each was agreed to."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command and wait for its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None and not method.startswith(("Browser.", "Target.")):
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._answers.get(timeout=SECONDS))["id"] != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """Wait until an expression is true."""
        return until(lambda: self.run(script), script)

    def open(self, address: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load a page on a screen of a size; below 500 pixels one that is touched."""
        phone = width < 500
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.addresses.clear()
        self.complaints.clear()
        self.dialogs.clear()
        self.call("Page.navigate", url=address)
        self.wait(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    def press(self, key: str, shift: bool = False, control: bool = False) -> None:
        """Press and release a key."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 and not control else "")
        code = KEYS.get(key, ord(key.upper()[0]))
        stroke = {"key": key, "windowsVirtualKeyCode": code, "modifiers": SHIFT * shift + CONTROL * control}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **stroke)
        self.call("Input.dispatchKeyEvent", type="keyUp", **stroke)

    def middle(self, selector: str) -> tuple[float, float]:
        """Give the middle of an element, in pixels of the screen."""
        x, y = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Let the mouse do one thing."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def draw(self, *points: tuple[float, float]) -> None:
        """Press the mouse at the first point, move it over the others, and let go."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self.mouse("mouseMoved", *points[0])
        self.mouse("mousePressed", *points[0], **held)
        for (x, y), (left, upper) in zip(points[1:], points, strict=False):
            for step in range(1, 9):
                self.mouse("mouseMoved", left + (x - left) * step / 8, upper + (y - upper) * step / 8, **held)
        self.mouse("mouseReleased", *points[-1], **held | {"buttons": 0})

    def pinch(self, x: float, y: float, apart: tuple[float, float]) -> None:
        """Put two fingers down round a point, so far from it, and move them so far."""
        before, after = apart
        for kind, reach in [("touchStart", before), ("touchMove", (before + after) / 2), ("touchMove", after)]:
            fingers = [{"x": x - reach, "y": y, "id": 0}, {"x": x + reach, "y": y, "id": 1}]
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def drag_in(self, file: Path, selector: str, *others: Path) -> None:
        """Drag files from outside over an element and let go."""
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(each) for each in (file, *others)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def print(self) -> bytes:
        """Print the page, and give the PDF."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def screenshot(self, file: Path, whole: bool = True) -> None:
        """Save an image of the page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self._commands.write(json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        self._commands.close()
        self._events.close()

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(self._events.fileno(), 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    self._answers.put(message)
                else:
                    self._note(message["method"], message["params"])

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.addresses.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(event["exceptionDetails"]))
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(event["message"] or event["type"])
            # Here, because the command that brought it up waits for the answer. Nobody waits for number 0.
            agreed = {"method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._commands.write(json.dumps({"id": 0, "sessionId": self._session, **agreed}).encode() + b"\0")
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.complaints.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")


def until(check: Callable[[], Any], what: object) -> Any:
    """Wait until something is true, and give it."""
    end = time.monotonic() + SECONDS
    while not (value := check()):
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.05)
    return value
