"""Paints offline: three looks, and the same picture and version always give the same bytes."""

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from workflows.generators import brushes
from workflows.generators.brushes import Array, blur, colour, luminance, noise, ramp
from workflows.images import encode_work

MAX_SIDE = 2048

Report = Callable[[float], None]


class LocalGenerator:
    """Needs no network and no key; takes about a second per megapixel."""

    model = "local-ink-1"

    def generate(self, picture: bytes, prompt_version: str, report: Report) -> bytes:
        look = LOOKS[prompt_version]
        report(0.0)
        scene = _scene(picture)
        report(0.05)
        painting = brushes.to_image(look(scene, report))
        report(0.95)
        data = encode_work(painting)
        report(1.0)
        return data


def _scene(picture: bytes) -> Array:
    with Image.open(BytesIO(picture)) as image:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        return brushes.to_planes(image)


def _unit(planes: Array) -> float:
    """A thousandth of the picture's size, in pixels: strokes are measured in it, and none is wider than the picture."""
    height, width = (int(length) for length in planes.shape[1:])
    return min(max(0.3, math.sqrt(height * width) / 1000), min(height, width) / 50)


def ink_and_watercolour(scene: Array, report: Report) -> Array:
    """Pen lines over transparent washes in the picture's own colours, on ivory paper."""
    unit, shape = _unit(scene), scene.shape[1:]
    calm = brushes.kuwahara(scene, 2 * unit)
    report(0.15)
    ink = np.maximum(brushes.ink_lines(calm, unit), brushes.thin_strokes(scene, unit))
    bare = brushes.bare_paper(calm, unit)
    report(0.27)
    wash = _wash(brushes.toned(calm, 0.58, white=0.93), unit)
    report(0.5)
    wash = brushes.wobbled(wash, 1.6 * unit, 40 * unit, seed=11)
    report(0.64)
    tone, grain = luminance(wash), brushes.paper_grain(shape, unit)
    inside = brushes.depth_inside_border(shape, 0.03, 0.008, seed=31)
    pigment = 0.2 * noise(shape, 140 * unit, 21, octaves=4)
    pigment += 4 * brushes.pooled(tone, 3.5 * unit)
    pigment += 0.1 * grain * (1.2 - tone)
    pigment += 0.5 * np.exp(-np.abs(inside) / 0.004)
    report(0.75)
    wash -= (wash - wash * wash) * pigment
    cover = ramp(inside, 0, 0.004) * (1 - 0.8 * ramp(tone, 0.9, 1)) * (1 - bare)
    result = brushes.paper(colour(0.985, 0.97, 0.935), grain, unit)
    result *= 1 - cover * (1 - wash)
    report(0.87)
    ink *= np.clip(0.92 + 0.1 * grain, 0, 1) * ramp(inside, -0.006, 0.01)
    result *= 1 - ink * (1 - colour(0.16, 0.13, 0.14))
    return result


def _wash(planes: Array, unit: float) -> Array:
    """Even areas that keep some of the detail within, drawn towards a palette of the picture's own."""
    wash = brushes.kuwahara(planes, 3.5 * unit)
    detail = planes - wash
    wash += 0.35 * detail + 0.65 * brushes.beyond(detail, 0.2)
    colours = brushes.palette(wash, 10)

    def towards_palette(given: Array) -> Array:
        distance = ((brushes.apart(given)[:, None] - brushes.apart(colours)[None]) ** 2).sum(2)
        share = np.exp(-distance / 0.008) + 1e-9
        near = share @ colours / share.sum(1, keepdims=True)
        return 0.08 + 0.92 * brushes.saturated(given + 0.6 * (near - given), 1.3)

    return brushes.graded(wash, towards_palette)


# At which tone each glaze of the wet look begins, and how much pigment it holds.
GLAZES = ((0.93, 0.09), (0.80, 0.12), (0.62, 0.20), (0.44, 0.32), (0.25, 0.50))


def wet_watercolour(scene: Array, report: Report) -> Array:
    """Loose glazes that run into each other, white paper left around them, a hint of pencil."""
    unit, shape = _unit(scene), scene.shape[1:]
    calm = brushes.kuwahara(scene, 3 * unit)
    report(0.15)
    pencil, strokes = brushes.ink_lines(calm, unit, weight=0.8), brushes.thin_strokes(scene, unit)
    bare = brushes.bare_paper(calm, unit)
    report(0.25)
    wash = brushes.kuwahara(brushes.toned(calm, 0.6, white=0.94), 8 * unit)
    report(0.4)
    wash = brushes.wobbled(wash, 4 * unit, 60 * unit, seed=12)
    report(0.53)
    absorbed = _absorbed(wash, unit)
    report(0.59)
    pigment = np.zeros(shape, np.float32)
    for index, (begin, strength) in enumerate(GLAZES):
        pigment += strength * _glaze(luminance(wash), begin, unit, seed=40 + 10 * index)
        report(0.64 + 0.05 * index)
    # What is bright and warm is not white paper: skin, above all.
    pigment += 0.3 * ramp(wash[0] - wash[2], 0.08, 0.5) * ramp(luminance(wash), 0.6, 0.85)
    pigment += 1.6 * brushes.beyond(luminance(wash) - luminance(calm), 0.25)
    grain = brushes.paper_grain(shape, unit)
    inside = brushes.depth_inside_border(shape, 0.04, 0.014, seed=32)
    pigment *= np.clip(1 + 0.12 * grain, 0.3, 2) * (1 - bare)
    pigment *= ramp(inside, 0, 0.006) * (1 + 0.6 * np.exp(-np.maximum(inside, 0) / 0.006))
    absorbed *= -np.maximum(pigment, 0)
    result = np.exp(absorbed, out=absorbed)
    result *= brushes.paper(colour(0.99, 0.982, 0.965), grain, unit)
    report(0.9)
    pencil *= np.clip(0.3 + 0.18 * grain, 0, 0.6) * ramp(inside, -0.02, 0.02)
    result *= 1 - np.maximum(pencil, 0.75 * strokes)
    return result


def _absorbed(wash: Array, unit: float) -> Array:
    """What a unit of pigment takes from the light; its colour spreads further than its tone does."""
    spread = np.stack([blur(plane, 7 * unit) for plane in wash])
    grey = luminance(spread)
    spread = np.clip(grey + 1.7 * (spread - grey), 0.03, 0.97)
    absorbed = -np.log(spread)
    absorbed /= absorbed.mean(0) + 0.02
    return absorbed


def _glaze(tone: Array, begin: float, unit: float, seed: int) -> Array:
    drift = 0.035 * noise(tone.shape, 90 * unit, seed, octaves=4)
    mask = ramp(begin - tone + drift, -0.03, 0.03)
    rim = brushes.pooled(1 - mask, 5 * unit)
    mask *= 1 + 0.25 * noise(tone.shape, 160 * unit, seed + 1, octaves=4)
    return np.maximum(mask + 1.1 * rim, 0)


def bold_print(scene: Array, report: Report) -> Array:
    """A few flat inks with a halftone in the shades and heavy outlines, like a screen print."""
    unit, shape = _unit(scene), scene.shape[1:]
    calm = brushes.kuwahara(scene, 3 * unit)
    report(0.15)
    ink = np.maximum(brushes.ink_lines(calm, unit, weight=1.25), brushes.thin_strokes(scene, unit))
    report(0.3)
    toned = brushes.toned(calm, 0.55, white=0.97)
    flat = brushes.kuwahara(toned, 5 * unit)
    flat += brushes.beyond(toned - flat, 0.25)
    report(0.52)
    result, printed = _flat_inks(flat, unit)
    report(0.8)
    shade = np.clip(luminance(printed) - luminance(flat), 0, 0.5)
    dots = ramp(4 * shade - brushes.halftone(shape, 7 * unit), 0.02, 0.15)
    result *= 1 - 0.3 * dots
    report(0.83)
    grain = brushes.paper_grain(shape, unit)
    bare = 0.6 * ramp(grain, 1.9, 2.4)
    ink *= 1 - bare
    result += bare * (1 - result)
    report(0.88)
    result *= 1 - ink * (1 - colour(0.09, 0.09, 0.17))
    result *= brushes.paper(colour(0.975, 0.95, 0.89), grain, unit)
    return result


def _flat_inks(planes: Array, unit: float) -> tuple[Array, Array]:
    """The picture in six poster colours, and in the six of its own that they stand for."""
    own = brushes.palette(planes, 6)
    inks = _poster(own)
    result, printed, total = (
        np.zeros_like(planes),
        np.zeros_like(planes),
        np.full(planes.shape[1:], 1e-6, np.float32),
    )
    near = brushes.nearest_plane(planes, own)
    for index in range(len(own)):
        share = blur((near == index).astype(np.float32), 1.8 * unit) ** 6
        total += share
        result += inks[index][:, None, None] * share
        printed += own[index][:, None, None] * share
    result /= total
    printed /= total
    return result, printed


def _poster(colours: Array) -> Array:
    """Spread from deep to pale and stronger in hue, so that a dull picture too prints with a full range."""
    grey = colours @ brushes.LUMA
    spread = np.linspace(0.14, 0.93, len(colours), dtype=np.float32) if len(colours) > 2 else grey
    strong = brushes.saturated(colours, 1.6) + (0.6 * (spread - grey))[:, None]
    return np.clip(strong + np.array([0, 0, 0.03], np.float32), 0.05, 0.98)


LOOKS: dict[str, Callable[[Array, Report], Array]] = {
    "v1": ink_and_watercolour,
    "v2": wet_watercolour,
    "v3": bold_print,
}
