"""What tests of the page share: what a person does on it, and what they see."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from chromium import Chromium, until

DONE = "!document.querySelector('#findings').hidden && !document.querySelector('.status.working')"
STATUS = "document.querySelector('#status').textContent"


def ready(browser: Chromium, site: str, **screen: Any) -> None:
    """Open the page and wait until it has told of its model."""
    browser.open(f"{site}/", **screen)
    browser.wait("document.querySelector('#card').children.length > 0")


def opened(browser: Chromium, site: str, photo: Path, **screen: Any) -> None:
    """Open the page and drop an image on it."""
    ready(browser, site, **screen)
    browser.drag_in(photo, "body")
    browser.wait(DONE)


def click(browser: Chromium, selector: str) -> None:
    """Click what may lie anywhere on the page."""
    browser.run(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
    browser.draw(browser.middle(selector))


def choose_tool(browser: Chromium, name: str) -> None:
    click(browser, f"[value={name}]")
    browser.run("document.querySelector('#stage').scrollIntoView({block: 'center'})")


def on_image(browser: Chromium, x: float, y: float) -> tuple[float, float]:
    """Give the place on the screen of a place on the image, both from 0 to 1 across it."""
    left, upper = browser.run(
        "(() => { const box = document.querySelector('#sheet').getBoundingClientRect();"
        f"return [box.x + box.width * {x}, box.y + box.height * {y}]; }})()"
    )
    return left, upper


def draw_and_ask_again(browser: Chromium) -> None:
    """Paint something and have the model follow it."""
    choose_tool(browser, "brush")
    browser.draw(on_image(browser, 0.1, 0.1), on_image(browser, 0.3, 0.2))
    click(browser, "#again")
    browser.wait(f"!document.querySelector('#change').hidden && {DONE}")


def text(browser: Chromium, selector: str) -> str:
    """Give what is read in an element, plain spaces in it."""
    shown: str = browser.run(f"document.querySelector('{selector}').innerText")
    return shown.replace("\N{NO-BREAK SPACE}", " ")


def extent(browser: Chromium, layer: str) -> list[int] | None:
    """Give left, upper, right and lower edge of an outline, in pixels of the image; None where none is seen."""
    found: list[int] | None = browser.run(
        f"""(() => {{
          const layer = document.querySelector('{layer}');
          if (getComputedStyle(layer).display === 'none' || !layer.querySelector('.line')) return null;
          const box = layer.querySelector('.line').getBBox();
          return [box.x, box.y, box.x + box.width, box.y + box.height].map(Math.round);
        }})()"""
    )
    return found


def png(image: Image.Image) -> str:
    """Give an image as PNG in base64."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def rectangle(left: int, upper: int, right: int, lower: int, size: tuple[int, int] = (300, 200)) -> str:
    """Give a mask with one rectangle as PNG in base64."""
    mask = Image.new("1", size)
    mask.paste(1, (left, upper, right, lower))
    return png(mask)


def downloaded(folder: Path, name: str) -> bytes:
    """Wait for a download; it is taken away."""
    file = folder / "downloads" / name
    until(lambda: file.is_file() and file.stat().st_size > 0, name)
    content = file.read_bytes()
    file.unlink()
    return content


def answer_with(browser: Chromium, change: str, status: int = 200) -> None:
    """Let the page see the server's answers changed, or refused the first time.

    `change` finds the answer as `answer`, and the form's fields as `form`; forms stay in `window.asked`.
    """
    browser.run(
        f"""(() => {{
          const real = window.fetch;
          window.asked = [];
          window.fetch = async (address, options) => {{
            const response = await real(address, options);
            if (address !== '/v1/predictions') return response;
            const form = options.body;
            window.asked.push(form);
            if ({status} !== 200 && window.asked.length === 1)
              return new Response('{{"error": "busy"}}', {{status: {status}, headers: {{'Retry-After': '1'}}}});
            const answer = await response.json();
            {change}
            return new Response(JSON.stringify(answer));
          }};
        }})()"""
    )
