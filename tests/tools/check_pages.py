#!/usr/bin/env python3
"""Opens the pages of `mobilenet report` and of `mobilenet bench kernels` in a headless Chromium and looks for what only a
browser can tell: errors on the console, requests to a network, missing charts, pages wider than the screen, values that do
not show.

usage: check_pages.py MOBILENET [--keep FOLDER]     (--keep: leaves the pages and a screenshot of each there)

The runs are made up here, with names that would break a page that does not escape them. Needs nothing but Python's own
library and a Chromium ($CHROMIUM, or chromium, chromium-headless-shell, google-chrome in the path), which it speaks to
through a pair of pipes by the DevTools protocol. Exits with 77, which CTest counts as skipped, where there is none.
"""
import argparse
import base64
import itertools
import json
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

BROWSERS = ["chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "google-chrome-stable"]
NASTY = ["<script>alert(1)</script>", "</script><img src=https://example.invalid/a>", "it's \"quoted\" & more", "Gürtel 🐸"]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def png(pixels, size):
    """RGB bytes, size × size → a PNG file's bytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + pixels[3 * size * y:3 * size * (y + 1)] for y in range(size))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def picture(rng, label):
    """A disc before a background that fades, in colours of the label's."""
    size, hue = 32, [rng.randrange(60, 255) for _ in range(3)]
    x0, y0, r = rng.uniform(10, 22), rng.uniform(10, 22), 5 + label % 7
    pixels = bytearray()
    for y, x in itertools.product(range(size), repeat=2):
        inside = (x - x0)**2 + (y - y0)**2 < r * r
        pixels += bytes(hue if inside else [4 * y + 3 * label % 90, 90, 160 - 3 * x])
    return "data:image/png;base64," + base64.b64encode(png(bytes(pixels), size)).decode()


def write_weights(path, rng, filters):
    data = struct.pack(f"<{27 * filters}f", *(rng.gauss(0, 0.3) for _ in range(27 * filters)))
    header = json.dumps({"conv_stem.weight": {"dtype": "F32", "shape": [filters, 3, 3, 3], "data_offsets": [0, len(data)]}})
    header = header.encode().ljust(math.ceil(len(header) / 8) * 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def make_run(folder, classes, epochs, seed, images_a_class=100, finished=True, **options):
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    options = {"data": "cifar10", "lr": 0.001, "optimizer": "adam", "schedule": "cosine", "width": 1.0, "resolution": 32,
               "batch": 128, "seed": seed, "augment": "article", "note": NASTY[0], **options}
    (folder / "config.json").write_text(json.dumps({
        "options": options, "model": {"name": "mobilenet_v1", "parameters": 3217226, "multiply_adds": 11000000},
        "data": {"name": "cifar10", "classes": len(classes), "train": 50000, "test": 10000},
        "device": {"type": "cpu", "name": "a made-up processor, 2 cores"}, "versions": {"mobilenet": "0.1.0", "cuda": ""}}))
    rows = ["epoch,train_loss,train_accuracy,val_loss,accuracy,lr,images_per_second,seconds,data_wait"]
    for e in range(1, epochs + 1):
        fall = math.exp(-e / (8 + seed))
        lr = options["lr"] * (1 + math.cos(math.pi * (e - 1) / max(epochs, 2))) / 2
        values = [0.4 + 1.6 * fall, 0.86 - 0.5 * fall, 0.55 + 1.3 * fall + rng.gauss(0, 0.04),
                  0.83 - 0.45 * fall + rng.gauss(0, 0.01), lr, 950 + rng.gauss(0, 25), 53 + rng.gauss(0, 1), abs(rng.gauss(0, .004))]
        rows.append(",".join([str(e)] + [f"{v:.6g}" for v in values]))
    if epochs > 3:
        cells = rows[3].split(",")
        cells[1], cells[3] = "nan", ""  # a gap in either curve
        rows[3] = ",".join(cells)
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    if not finished:
        return
    write_weights(folder / "model.safetensors", rng, 32)
    confusion = []
    for i in range(len(classes)):
        row = [0] * len(classes)
        for _ in range(images_a_class):
            near = (i + rng.choice([-2, -1, 1, 1, 2, 5])) % len(classes)
            row[i if rng.random() < 0.55 + 0.4 * (i * 7 % 10) / 10 else near] += 1
        confusion.append(row)
    right, total = sum(confusion[i][i] for i in range(len(classes))), images_a_class * len(classes)
    examples = []
    for k in range(48):
        label = k % len(classes)
        wrong = rng.random() < 0.25
        examples.append({"index": k, "label": label, "predicted": (label + 1) % len(classes) if wrong else label,
                         "probability": rng.uniform(0.4, 0.8) if wrong else rng.uniform(0.7, 1), "image": picture(rng, label)})
    (folder / "result.json").write_text(json.dumps({
        "epoch": max(epochs - 2, 1), "validation": "article", "val_accuracy": 0.8312, "test_loss": 0.6123,
        "test_accuracy": right / total, "classes": classes, "confusion": confusion, "examples": examples}))


class Browser:
    """A headless Chromium with one tab."""

    def __init__(self, program, profile):
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def pipes():  # it reads commands from 3 and answers on 4
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3)
            os.dup2(b, 4)

        # --no-sandbox: root cannot have one. A proxy that is not there: should a request leave, it leads nowhere.
        self.process = subprocess.Popen(
            [program, "--headless=new" if "shell" not in program else "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-extensions", "--hide-scrollbars", "--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}",
             "--remote-debugging-pipe", "about:blank"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer, self.events, self.number, self.session = b"", [], 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.buffer:
            more = os.read(self.read_end, 1 << 16)
            if not more:
                raise RuntimeError("the browser has ended")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if self.session:
            command["sessionId"] = self.session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self.write_end, data):]
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, path, width, dark):
        self.events = []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.message())

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def screenshot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.process.kill()
        self.process.wait()


failures = []


def check(what, ok, details=""):
    if not ok:
        failures.append(f"{what} {details}")
        print(f"FAILED: {what} {details}", file=sys.stderr)


def look_at_report(browser, name):
    """What the pages of `mobilenet report` show, and how they answer."""
    check(name, browser.value("[...document.images].every(i => i.complete && i.naturalWidth == 32)"), "has a broken image")
    check(name, browser.value("[...document.querySelectorAll('svg.curves path.curve')].some(p => p.getTotalLength() > 50)"),
          "has no curve")
    # Values: under the pointer, then with the arrow keys.
    browser.value("document.querySelector('[data-chart]').scrollIntoView()")
    box = browser.value("(r => ({x: r.x, y: r.y, w: r.width, h: r.height}))(document.querySelector('[data-chart] svg').getBoundingClientRect())")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + box["w"] * 0.6, y=box["y"] + box["h"] / 2)
    tip = "(t => getComputedStyle(t).visibility == 'visible' ? t.textContent : '')(document.querySelector('[data-chart] .tip'))"
    check(name, browser.value(tip).startswith("epoch "), f"shows no values: {browser.value(tip)!r}")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    check(name, browser.value(tip) == "", "keeps the values when the pointer has left")
    browser.value("document.querySelector('[data-chart] svg').focus()")
    for key in ["Home", "ArrowRight"]:
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    check(name, browser.value(tip).startswith("epoch 2\n"), f"does not follow the arrow keys: {browser.value(tip)!r}")
    browser.value("document.activeElement.blur()")
    if browser.value("document.querySelector('[data-confusion]') !== null"):
        browser.value("document.querySelector('[data-confusion] svg').focus()")
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown")
        text = browser.value("document.querySelector('[data-confusion] .tip').textContent")
        check(name, text.startswith("true: "), f"shows no numbers of the confusion matrix: {text!r}")
        browser.value("document.activeElement.blur()")


def look_at_bench(browser, name):
    """What the page of `mobilenet bench kernels` shows."""
    check(name, browser.value("[...document.querySelectorAll('.roof')].every(p => p.getTotalLength() > 50)"), "has no roof")
    inside = """[...document.querySelectorAll('svg.roofline')].every(svg => [...svg.querySelectorAll('.spot')].every(spot => {
        const box = spot.getBoundingClientRect(), all = svg.getBoundingClientRect();
        return box.width > 2 && box.left >= all.left && box.right <= all.right && box.top >= all.top && box.bottom <= all.bottom; }))"""
    check(name, browser.value(inside), "has dots outside of the drawing")
    check(name, browser.value("[...document.querySelectorAll('.meter i')].every(i => i.getBoundingClientRect().width > 0)"), "has a bar without length")
    check(name, browser.value("[...document.querySelectorAll('.spot title')].every(t => t.textContent.includes('GB/s'))"), "has dots without words")


def check_page(browser, path, expected, keep, look=lambda browser, name: None):
    """`expected`: how many of which there must be, by CSS selector. `look`: more to check."""
    for width, dark in itertools.product([1280, 375], [False, True]):
        name = f"{path.parent.name}-{path.stem} {width} {'dark' if dark else 'light'}"
        browser.open(path, width, dark)
        for selector, count in expected.items():
            found = browser.value(f"document.querySelectorAll({json.dumps(selector)}).length")
            check(name, found == count, f"{selector}: {found}, expected {count}")
        check(name, browser.value("document.scrollingElement.scrollWidth") <= width, "is wider than the screen")
        back = browser.value("getComputedStyle(document.body).backgroundColor")
        check(name, (sum(map(int, back[4:-1].split(","))) < 200) == dark, f"has the background {back}")
        look(browser, name)
        if keep:
            browser.value("scrollTo(0, 0)")
            browser.screenshot(keep / (name.replace(" ", "-") + ".png"))
        for event in browser.events:
            method, params = event.get("method", ""), event.get("params", {})
            if method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                check(name, url.startswith(("file:", "data:")), f"asks the network for {url}")
            bad = method == "Runtime.exceptionThrown" or method == "Page.javascriptDialogOpening" or (
                method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")) or (
                    method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"))
            check(name, not bad, f"reports {json.dumps(params)[:400]}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("mobilenet")
    arguments.add_argument("--keep", type=pathlib.Path)
    options = arguments.parse_args()
    wanted = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else BROWSERS
    program = next(filter(None, map(shutil.which, wanted)), None)
    if program is None:
        print(f"skipped: no browser was found (looked for {', '.join(wanted)})")
        return 77
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        hundred = NASTY + [f"class number {i}" for i in range(len(NASTY), 100)]
        make_run(folder / "cifar10", CIFAR10, 25, 1)
        make_run(folder / "quarter width", CIFAR10, 18, 4, width=0.25, lr=0.002)
        make_run(folder / "<b>& unfinished", CIFAR10, 9, 9, finished=False, optimizer="sgd", lr=0.05)
        make_run(folder / "hundred", hundred, 300, 2)
        make_run(folder / "nasty", NASTY, 2, 3)
        names = ["cifar10", "quarter width", "<b>& unfinished", "hundred", "nasty"]
        for name in names:
            subprocess.run([options.mobilenet, "report", folder / name], check=True, stderr=subprocess.DEVNULL)
        subprocess.run([options.mobilenet, "report", *[folder / name for name in names[:3]], "--out", folder / "comparison.html"],
                       check=True, stderr=subprocess.DEVNULL)
        (folder / "shapes <b>.txt").write_text("add batch=1 height=2 width=3 channels=8 # <script>alert(1)</script>\n"
                                               "add batch=2 height=2 width=3 channels=8\n"
                                               "global_avg_pool batch=1 height=2 width=3 channels=8\n"
                                               "global_avg_pool batch=2 height=2 width=3 channels=8\n")
        bench = subprocess.run([options.mobilenet, "bench", "kernels", "--shapes", folder / "shapes <b>.txt", "--pass", "forward", "--device", "cpu",
                                "--repeat", "2", "--json", "--html", folder / "bench.html"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        rows = len({r["row"] for r in json.loads(bench.stdout)["ladder"]})  # both have the same
        browser = Browser(program, folder / "profile")
        try:
            whole = {"[data-chart]": 5, "svg.curves": 5, "script": 1, ".examples img": 48, ".filters svg": 32}
            page = "report.html"
            check_page(browser, folder / "cifar10" / page, {**whole, ".confusion td": 100, ".classes > div": 10, "tbody tr.is-best": 1}, options.keep, look_at_report)
            check_page(browser, folder / "hundred" / page, {**whole, "[data-confusion]": 1, ".classes > div": 100}, options.keep, look_at_report)
            check_page(browser, folder / "nasty" / page, {**whole, ".confusion td": 16}, options.keep, look_at_report)
            check_page(browser, folder / "<b>& unfinished" / page, {"[data-chart]": 5, "script": 1, ".examples": 0, ".confusion": 0}, options.keep, look_at_report)
            check_page(browser, folder / "bench.html", {".roofline": 2, ".roof": 2, ".ladder > div": 2 * rows, ".roofline .spot": 4 * rows,
                                                        "tbody tr": 4 * rows}, options.keep, look_at_bench)
            check_page(browser, folder / "comparison.html", {"[data-chart]": 6, "script": 1, "svg.curves path.curve": 18}, options.keep, look_at_report)
        finally:
            browser.close()
            time.sleep(0.2)  # its children let go of the profile
        if options.keep:
            shutil.copytree(folder, options.keep / "pages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("profile"))
    print(f"{program}: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
