"""Pictures of every state of both pages, on a phone and a desktop, light and dark.

python -m tests.system.pages.screenshots OUT_FOLDER [PHOTO]
"""

import mimetypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Browser, Route, expect

from tests.support import pictures
from tests.support.installation import Installation, installation, wait_for
from tests.support.standstill import half_drawn, standstill
from tests.system.pages.browser import chromium
from tests.system.pages.operator import fail, log_in, manage, try_again, with_account
from tests.system.pages.scene import lake
from tests.system.pages.test_deliveries import MADE
from tests.system.pages.visitor import File, Visitor

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
SIZES = {"phone": (360, 800), "desktop": (1280, 800)}
README = Path(__file__).parents[3] / "static/img/screenshot.webp"


class Photographer:
    def __init__(self, visitor: Visitor, folder: Path) -> None:
        self._visitor = visitor
        self._folder = folder
        self._chromium = visitor.context.new_cdp_session(visitor.page)

    def take(self, name: str, *, whole: bool = True) -> None:
        page = self._visitor.page
        for (device, (width, height)), scheme in product(SIZES.items(), SCHEMES):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self._hold(width, height, touch=device == "phone")
            if whole:
                tall = int(page.evaluate("document.documentElement.scrollHeight"))
                self._hold(width, tall, touch=device == "phone")
            page.screenshot(path=self._folder / f"{name}-{device}-{scheme}.png")

    def _hold(self, width: int, height: int, *, touch: bool) -> None:
        page = self._visitor.page
        page.set_viewport_size({"width": width, "height": height})
        self._chromium.send("Emulation.setTouchEmulationEnabled", {"enabled": touch})
        page.wait_for_function("touch => matchMedia('(any-pointer: coarse)').matches === touch", arg=touch)


def main() -> None:
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    photo = _photo(Path(sys.argv[2])) if len(sys.argv) == 3 else _scene()
    with _darkroom() as darkroom, chromium() as browser:
        for states in (_sending, _watching, _ending, _others, _operating):
            visitor = Visitor(darkroom, browser.new_context(device_scale_factor=2, reduced_motion="reduce"))
            states(visitor, Photographer(visitor, out), photo)
            visitor.context.close()
        if len(sys.argv) == 2:  # somebody's photo is not for the README
            _readme(darkroom, browser, photo).save(README, quality=80, method=6)
    print(f"{len(list(out.glob('*.png')))} pictures are in {out}")


@contextmanager
def _darkroom() -> Iterator[Installation]:
    """On made-up settings: nothing of an .env, and no database but its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "ENV_FILE": f"{folder}/no.env",
            "SECRET_KEY": "only-for-pictures-" + "x" * 40,
            "DATABASE_URL": "sqlite://:memory:",
            "DATA_DIR": folder,
        }
        with installation(Path(folder), SWEEP_SECONDS="1") as darkroom:
            yield darkroom


def _photo(path: Path) -> File:
    return File(path.name, path.read_bytes(), mimetypes.guess_type(path)[0] or "image/jpeg")


def _scene() -> File:
    return File("Evening at the lake.jpg", pictures.encoded(lake(), "JPEG", quality=92))


def _small(name: str) -> File:
    return File(name, pictures.encoded(pictures.portrait(640, 800), "JPEG"))


def _sending(visitor: Visitor, camera: Photographer, photo: File) -> None:
    visitor.open()
    camera.take("send")
    visitor.page.evaluate("document.querySelector('#send').classList.add('dragging')")
    camera.take("send-dragging")
    visitor.page.evaluate("document.querySelector('#send').classList.remove('dragging')")
    with standstill(visitor.darkroom):
        long = "A name that somebody gave to a picture when there was time enough on a long and rainy evening.jpg"
        torn = pictures.encoded(pictures.landscape(), "JPEG")
        visitor.choose(photo, _small(long), File("Torn.jpg", torn[:4000]), File("Notes.txt", b"Dear diary"))
        expect(visitor.row("Waiting in line")).to_have_count(3)
        visitor.page.route("**/api/uploads", _never_answered, times=1)
        visitor.choose(_small("On its way.jpg"))
        expect(visitor.row("On its way.jpg")).to_contain_text("Sending")
        visitor.context.set_offline(True)
        visitor.choose(_small("No connection.jpg"))
        expect(visitor.row("No connection.jpg")).to_contain_text("Trying again")
        camera.take("send-several")
        visitor.context.set_offline(False)
    wait_for(lambda: visitor.passes() and all(job["isTerminal"] for job in visitor.jobs))
    visitor.page.on("dialog", lambda dialog: dialog.accept())  # one is still on its way
    visitor.open()
    expect(visitor.row("Ready").first).to_be_visible()
    visitor.page.wait_for_load_state("networkidle")
    camera.take("send-album")
    visitor.part("forget").click()
    camera.take("send-forget", whole=False)
    visitor.part("sure").get_by_role("button", name="Keep them").click()
    data = pictures.encoded(pictures.landscape(160, 120), "JPEG")
    visitor.choose(*(File(f"Picture {number}.jpg", data) for number in range(1, 21)))
    expect(visitor.row("Ready").nth(10)).to_be_visible()
    camera.take("send-twenty")
    wait_for(lambda: visitor.passes() and all(job["isTerminal"] for job in visitor.jobs) and len(visitor.jobs) == 20)
    visitor.open()
    expect(visitor.page.get_by_role("button", name="Show more")).to_be_visible()
    visitor.page.wait_for_load_state("networkidle")
    camera.take("send-album-long")


def _never_answered(route: Route) -> None:
    """What is sent stays on its way."""


def _watching(visitor: Visitor, camera: Photographer, photo: File) -> None:
    with standstill(visitor.darkroom):
        visitor.send(photo)
        visitor.expect_state("pending")
        camera.take("job-waiting")
    with half_drawn(visitor.darkroom, lambda: visitor.send(photo), visitor.status):
        visitor.expect_progress(visitor.status()["progress"])
        camera.take("job-developing")
        visitor.context.set_offline(True)
        expect(visitor.part("connection")).to_contain_text("No connection")
        camera.take("job-offline")
        visitor.context.set_offline(False)
        expect(visitor.part("connection")).to_be_empty()
        _told(visitor, attempt=2)
        camera.take("job-second-try")
        for stage, progress in (("validating", 10), ("storing", 80), ("watermarking", 90)):
            _told(visitor, stage=stage, progress=progress)
            camera.take(f"job-{stage}")
        for code in FAILURES:
            error = {"code": code, "message": TOO_LARGE, "retryable": code not in FOR_GOOD, "step": "generate"}
            _told(visitor, status="failed", stage="failed", isTerminal=True, error=error)
            visitor.expect_state("failed")
            camera.take(f"job-failed-{code}")
        visitor.page.unroute_all(behavior="ignoreErrors")
        visitor.page.reload()
        visitor.expect_state("processing")
        visitor.page.route("**/api/status/*", lambda route: route.fulfill(status=503))
        expect(visitor.part("connection")).to_contain_text("not available")
        camera.take("job-server-away")
        visitor.page.unroute_all(behavior="ignoreErrors")
        try_again(visitor.darkroom, visitor.job, "GENERATOR_BUSY", seconds=50)
        expect(visitor.part("detail")).to_contain_text("Trying again in")
        camera.take("job-tried-again")
        visitor.part("cancel").click()
        visitor.expect_state("cancelled")


FAILURES = [
    *("BUDGET_EXHAUSTED", "CONTENT_BLOCKED", "DEADLINE_EXCEEDED", "GENERATOR_BUSY", "GENERATOR_NO_PICTURE"),
    *("GENERATOR_REFUSED", "IMAGE_TOO_LARGE", "INTERNAL", "RATE_LIMITED", "STEP_TIMEOUT", "STORAGE_UNAVAILABLE"),
    *("UNSUPPORTED_TYPE", "WORKER_LOST"),
]
"""Beside those that come about here by themselves."""
FOR_GOOD = {"CONTENT_BLOCKED", "IMAGE_TOO_LARGE", "UNSUPPORTED_TYPE"}
TOO_LARGE = "This picture takes too much memory to open."


def _told(visitor: Visitor, **other: object) -> None:
    """The page hears something else from now on."""

    def answer(route: Route) -> None:
        said = route.fetch(headers=route.request.headers | {"if-none-match": ""})
        route.fulfill(response=said, json=said.json() | other)

    visitor.page.unroute_all(behavior="ignoreErrors")
    visitor.page.route("**/api/status/*", answer)
    visitor.page.reload()
    visitor.page.wait_for_load_state("networkidle")


def _ending(visitor: Visitor, camera: Photographer, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    camera.take("job-completed")
    visitor.part("delete").click()
    camera.take("job-delete", whole=False)
    visitor.part("sure").get_by_role("button", name="Keep it").click()
    visitor.page.route("**/api/results/*", lambda route: route.fulfill(status=410, body="{}"))
    visitor.page.reload()
    visitor.expect_state("expired")
    camera.take("job-expired")
    visitor.page.unroute_all(behavior="ignoreErrors")
    with half_drawn(visitor.darkroom, lambda: visitor.send(photo), visitor.status) as job:
        fail(visitor.darkroom, job, "GENERATOR_UNAVAILABLE")
        visitor.expect_state("failed")
        camera.take("job-failed")
        visitor.part("activity").locator("summary").click()
        expect(visitor.part("events").get_by_text("Your picture has arrived.")).to_be_visible()
        camera.take("job-log")


def _others(visitor: Visitor, camera: Photographer, photo: File) -> None:
    nobodys = "/jobs/01234567-89ab-7def-8123-456789abcdef"
    visitor.open(nobodys)
    visitor.expect_state("unauthorized")
    camera.take("job-unauthorized")
    visitor.open("/nothing/here")
    camera.take("not-found")
    visitor.open("/api/docs")
    camera.take("docs")
    torn = pictures.encoded(pictures.landscape(), "JPEG")
    visitor.send(File("Torn.jpg", torn[: len(torn) // 2]))
    visitor.expect_state("failed")
    camera.take("job-rejected")
    visitor.open(nobodys)
    visitor.expect_state("missing")
    camera.take("job-missing")
    with standstill(visitor.darkroom):
        visitor.send(photo)
        visitor.expect_state("pending")
        visitor.part("cancel").click()
        visitor.expect_state("cancelled")
        camera.take("job-cancelled")


def _operating(visitor: Visitor, camera: Photographer, photo: File) -> None:
    """After all the others: the list has what they left."""
    visitor.send(photo)
    visitor.expect_completed()
    job, name = visitor.job, photo.name
    with_account(visitor.darkroom)
    visitor.open("/admin/login/?next=/admin/")
    camera.take("admin-login")
    log_in(visitor)
    camera.take("admin-home")
    visitor.open("/admin/uploads/upload/")
    camera.take("admin-list")
    visitor.open("/admin/uploads/upload/?status=failed")
    camera.take("admin-list-failed")
    visitor.page.get_by_label("Select this object for an action").first.check()
    visitor.page.get_by_label("Action:").select_option("retry")
    visitor.page.get_by_role("button", name="Go").click()
    camera.take("admin-confirm")
    visitor.open(f"/admin/uploads/upload/{job}/change/")
    expect(visitor.page.get_by_text(name).first).to_be_visible()
    camera.take("admin-record")
    with standstill(visitor.darkroom):
        visitor.send(photo)
        visitor.open(f"/admin/uploads/upload/{visitor.job}/change/")
        camera.take("admin-record-waiting")
        visitor.page.get_by_role("button", name="Delete …").click()
        camera.take("admin-confirm-delete")
        visitor.page.get_by_role("button", name="Yes, delete").click()
        camera.take("admin-record-deleted")
    assert manage(visitor.darkroom, "shell", "-c", MADE).returncode == 0
    visitor.open("/admin/status/webhookdelivery/")
    visitor.page.locator("#result_list").get_by_role("link", name="dead").last.click()
    camera.take("admin-delivery")
    visitor.open("/admin/status/webhookendpoint/add/")
    camera.take("admin-endpoint-add")
    visitor.page.get_by_label("URL").fill("https://receiver.example.com/hook")
    visitor.page.get_by_role("button", name="Save", exact=True).click()
    expect(visitor.page.get_by_text("This is the secret.")).to_be_visible()
    camera.take("admin-endpoint-secret")
    others = ("status/webhookendpoint", "status/webhookdelivery", "uploads/session", "uploads/providercall")
    for name in (*others, "admin/logentry"):
        visitor.open(f"/admin/{name}/")
        camera.take(f"admin-list-of-{name.rpartition('/')[2]}")
    for window in ("1h", "7d"):
        visitor.open(f"/admin/figures/?window={window}")
        camera.take(f"admin-figures-{window}")


def _readme(darkroom: Installation, browser: Browser, photo: File) -> Image.Image:
    """The finished job on a desktop, and in front of it a phone on which one is on its way."""

    def shot(
        width: int, height: int, scale: float, scheme: Scheme, reached: Callable[[Visitor], object]
    ) -> Image.Image:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        visitor = Visitor(darkroom, context)
        visitor.send(photo)
        reached(visitor)
        image = Image.open(BytesIO(visitor.page.screenshot())).convert("RGB")
        context.close()
        return image

    def in_the_middle(visitor: Visitor) -> None:
        wait_for(lambda: visitor.page.evaluate("true") and visitor.progress[-1:] >= [40])

    wide = shot(1120, 600, 1.25, "light", Visitor.expect_completed)
    narrow = shot(360, 780, 0.95, "dark", in_the_middle)
    canvas = Image.new("RGB", (wide.width + narrow.width + 60, wide.height + 140), (226, 214, 202))
    _lay(canvas, wide, (48, 48), 18)
    _lay(canvas, narrow, (canvas.width - narrow.width - 40, canvas.height - narrow.height - 40), 30)
    return canvas.resize((1280, canvas.height * 1280 // canvas.width), Image.Resampling.LANCZOS)


def _lay(canvas: Image.Image, picture: Image.Image, at: tuple[int, int], round_by: int) -> None:
    x, y = at
    frame = (x - 3, y - 3, x + picture.width + 2, y + picture.height + 2)
    shadow = Image.new("L", canvas.size)
    ImageDraw.Draw(shadow).rounded_rectangle((x, y + 18, x + picture.width, y + picture.height + 18), round_by, 110)
    canvas.paste((60, 36, 26), (0, 0), shadow.filter(ImageFilter.GaussianBlur(22)))
    ImageDraw.Draw(canvas).rounded_rectangle(frame, round_by + 3, (58, 40, 33))
    mask = Image.new("L", (picture.width * 4, picture.height * 4))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), round_by * 4, 255)
    canvas.paste(picture, at, mask.resize(picture.size, Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
