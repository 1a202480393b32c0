"""Paints offline: three looks, and the same picture and version always give the same bytes.

Colour is painted on a reduced copy of a large picture and tone in the full size, as JPEG and video do it; the last pass
goes through the picture in bands of rows, so that few planes of the full size are in memory.
"""

import math
from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from workflows.generators import brushes
from workflows.generators.brushes import Array, Field, Pixels, bands, blur, colour, luminance, ramp

MAX_SIDE = 2048

Report = Callable[[float], None]


class LocalGenerator:
    """Needs no network and no key; takes about a quarter of a second per megapixel."""

    model = "local-ink-1"

    def generate(self, picture: bytes, prompt_version: str, report: Report) -> bytes:
        look = LOOKS[prompt_version]
        report(0.0)
        try:
            data = _encoded(look(_opened(picture), report))
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            raise
        report(1.0)
        return data


def _opened(picture: bytes) -> Pixels:
    with Image.open(BytesIO(picture)) as image:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        return np.asarray(image.convert("RGB"))


def _encoded(painting: Pixels) -> bytes:
    """Encode as PNG, in half the time that Pillow takes."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    return cv2.imencode(".png", cv2.cvtColor(painting, cv2.COLOR_RGB2BGR), options)[1].tobytes()


class Study:
    """What a painter sees before the first stroke: the picture without noise and texture, and what matters in it."""

    def __init__(self, pixels: Pixels, strength: float, report: Report) -> None:
        """Smooth over `strength` units; report from 0.03 to 0.2."""
        height, width = pixels.shape[:2]
        self.size = (height, width)
        self.unit = unit = min(max(0.3, math.sqrt(height * width) / 1000), min(height, width) / 50)
        """A thousandth of the picture's size, in pixels: strokes are measured in it; none is wider than the picture."""
        self.factor = factor = max(1, round(unit))
        filled = (-height % factor, -width % factor)
        if any(filled):
            border = cv2.copyMakeBorder(pixels, 0, filled[0], 0, filled[1], cv2.BORDER_REPLICATE)
            pixels = np.asarray(border, np.uint8)
        self.shape = (height + filled[0], width + filled[1])
        self.fine = unit / factor
        """The unit in pixels of the reduced copy."""
        scene = brushes.reduced_planes(pixels, factor)
        report(0.05)
        self.calm = brushes.kuwahara(scene, strength * self.fine)
        """The colours, reduced by `factor`."""
        self.grey = luminance(self.calm)
        report(0.1)
        features = brushes.fine_features(luminance(scene), self.fine)
        self.kept = blur(ramp(features, 0.12, 0.3), self.fine)
        """Where fine features stand out that must stay: eyes, letters."""
        self.care = ramp(blur(self.kept, 12 * self.fine), 0.08, 0.3)
        """Around such features, where the hand is steady."""
        self.bare = self.field(brushes.bare_paper(self.calm, self.fine))
        kept = self.field(self.kept)
        report(0.13)
        self.tones = np.empty(self.shape, np.float32)
        """The tones in full size."""
        strokes = []
        for rows, window, inner in bands(self.shape[0], brushes.kuwahara_reach(max(4, strength) * unit)):
            grey = brushes.toned_pixels(pixels[window])
            strokes.append(brushes.shrunk(brushes.thin_strokes(grey, unit)[inner], 1))
            calm = brushes.kuwahara(grey[None], strength * unit)[0, inner]
            calm += kept.rows(rows) * (grey[inner] - calm)
            self.tones[rows] = calm
            report(0.13 + 0.07 * rows.stop / self.shape[0])
        self.strokes = np.concatenate(strokes)

    def field(self, small: Array) -> Field:
        return Field(small, self.factor, self.shape[1])

    def fields(self, small: Array) -> list[Field]:
        return [self.field(plane) for plane in small]

    def ink(self, weight: float = 1.0) -> Field:
        """Return the lines of a pen, as `brushes.edges` measures them."""
        return self.field(brushes.edges(self.grey, self.fine, weight))

    def painted(self, paint: Callable[[slice], Array], report: Report) -> Pixels:
        """Return the picture of which `paint` gives the planes of some rows; report from 0.4 to 0.9."""
        height, width = self.size
        result = np.empty((*self.shape, 3), np.uint8)
        for rows, _, _ in bands(self.shape[0]):
            result[rows] = brushes.to_pixels(paint(rows))
            report(0.4 + 0.5 * rows.stop / self.shape[0])
        return result[:height, :width]


def ink_and_watercolour(pixels: Pixels, report: Report) -> Pixels:
    """Pen lines over transparent washes in the picture's own colours, on ivory paper."""
    study = Study(pixels, 2, report)
    unit, shape, fine = study.unit, study.shape, study.fine
    ink = study.ink()
    report(0.26)
    tone = brushes.Tone(study.grey, 0.58, white=0.93)
    toned = tone(study.calm)
    wash = brushes.kuwahara(toned, 3.5 * fine)
    wash += 0.3 * (toned - wash)
    report(0.32)
    ground = study.field(luminance(wash))
    washed = study.fields(_towards_palette(wash))
    pooled = study.field(brushes.pooled(ground.small, 3.5 * fine))
    care, kept = study.field(study.care), study.field(study.kept)
    report(0.37)
    wobble = brushes.Wobble(shape, 1.6 * unit, 40 * unit, seed=11)
    paper = brushes.Paper(shape, unit)
    border = brushes.Border(shape, 0.02, 0.005, seed=31)
    drift = brushes.clouds(shape, 140 * unit, 21, octaves=4)
    report(0.4)

    def paint(rows: slice) -> Array:
        steady, keep = care.rows(rows), kept.rows(rows)
        y, x = wobble.places(rows, steady)
        detail = tone.of_grey(study.tones[rows]) - ground.rows(rows)
        strong = brushes.beyond(detail, 0.2)
        detail = strong + (0.35 + 0.6 * keep) * (detail - strong)
        painted = np.stack([plane.at(y, x) for plane in washed])
        painted += detail
        light, grain, inside = luminance(painted), paper.grain(rows), border.depth(rows) + 0.02 * steady
        # The more of the light it lets through, the more evenly a wash dries: a clear sky has no clouds.
        pigment = (0.2 - 0.16 * light) * drift.rows(rows)
        pigment += 4 * pooled.at(y, x)
        pigment += 0.1 * grain * (1.2 - light)
        pigment += 0.5 * brushes.exp(-np.abs(inside) / 0.004)
        cover = ramp(inside, 0, 0.004) * (1 - 0.8 * ramp(light, 0.9, 1)) * (1 - study.bare.rows(rows))
        painted -= (painted - painted * painted) * pigment
        painted -= 1
        painted *= cover
        painted += 1
        painted *= paper.sheet(colour(0.985, 0.97, 0.935), rows)
        lines = np.maximum(ramp(ink.rows(rows), 0.35, 1.1), study.strokes[rows])
        lines *= np.clip(0.92 + 0.1 * grain, 0, 1) * ramp(inside, -0.006, 0.01)
        painted *= 1 - lines * (1 - colour(0.16, 0.13, 0.14))
        return painted

    return study.painted(paint, report)


def _towards_palette(wash: Array) -> Array:
    """Draw colours towards a palette of the picture's own, a little stronger than they are; skin keeps its hue."""
    colours = brushes.palette(wash, 10)

    def recolour(given: Array) -> Array:
        distance = ((brushes.apart(given)[:, None] - brushes.apart(colours)[None]) ** 2).sum(2)
        share = np.exp(-distance / 0.008) + 1e-9
        near = share @ colours / share.sum(1, keepdims=True)
        skin = brushes.skin(given)[:, None]
        return 0.08 + 0.92 * brushes.saturated(given + (0.6 - 0.45 * skin) * (near - given), 1.3 - 0.2 * skin)

    return brushes.Grade(recolour)(wash)


# At which tone each glaze of the wet look begins, and how much pigment it holds.
GLAZES = ((0.93, 0.09), (0.80, 0.12), (0.62, 0.20), (0.44, 0.32), (0.25, 0.50))


def wet_watercolour(pixels: Pixels, report: Report) -> Pixels:
    """Loose glazes that run into each other, white paper left around them, a hint of pencil."""
    study = Study(pixels, 3, report)
    unit, shape, fine = study.unit, study.shape, study.fine
    pencil = study.ink(0.8)
    report(0.26)
    tone = brushes.Tone(study.grey, 0.6, white=0.94)
    toned = tone(study.calm)
    wash = brushes.kuwahara(toned, 8 * fine)
    wash += np.maximum(0.8 * study.kept, 0.5 * study.care) * (toned - wash)
    report(0.3)
    wobble = brushes.Wobble(wash.shape[1:], 4 * fine, 60 * fine, seed=12)
    y, x = wobble.places(slice(0, wash.shape[1]), study.care)
    wash = np.stack([Field(plane, 1, wash.shape[2]).at(y, x) for plane in wash])
    absorbed = study.fields(_absorbed(wash, fine))
    pigments = study.field(_glazed(wash, fine))
    light = study.field(luminance(wash))
    report(0.37)
    paper = brushes.Paper(shape, unit)
    border = brushes.Border(shape, 0.03, 0.009, seed=32)
    care = study.field(study.care)
    report(0.4)

    def paint(rows: slice) -> Array:
        pigment = pigments.rows(rows)
        pigment += 1.6 * brushes.beyond(light.rows(rows) - tone.of_grey(study.tones[rows]), 0.25)
        grain, inside = paper.grain(rows), border.depth(rows) + 0.03 * care.rows(rows)
        pigment *= np.clip(1 + 0.12 * grain, 0.3, 2) * (1 - study.bare.rows(rows))
        pigment *= ramp(inside, 0, 0.006) * (1 + 0.6 * brushes.exp(-np.maximum(inside, 0) / 0.006))
        np.minimum(-pigment, 0, out=pigment)
        lines = ramp(pencil.rows(rows), 0.35, 1.1)
        lines *= np.clip(0.3 + 0.18 * grain, 0, 0.6) * ramp(inside, -0.02, 0.02)
        lit = 1 - np.maximum(lines, 0.75 * study.strokes[rows])
        painted = paper.sheet(colour(0.99, 0.982, 0.965), rows)
        for channel, taken in enumerate(absorbed):
            painted[channel] *= brushes.exp(pigment * taken.rows(rows)) * lit
        return painted

    return study.painted(paint, report)


def _glazed(wash: Array, unit: float) -> Array:
    """Return how much pigment the glazes leave."""
    tones, shape = luminance(wash), wash.shape[1:]
    pigment = np.zeros(shape, np.float32)
    every = slice(0, shape[0])
    for seed, (begin, strength) in zip(range(40, 90, 10), GLAZES, strict=True):
        drift = brushes.clouds(shape, 90 * unit, seed, 4).rows(every)
        mask = ramp(begin - tones + 0.035 * drift, -0.03, 0.03)
        rim = brushes.pooled(1 - mask, 5 * unit)
        mask *= 1 + 0.25 * brushes.clouds(shape, 160 * unit, seed + 1, 4).rows(every)
        pigment += strength * np.maximum(mask + 1.1 * rim, 0)
    # What is bright and warm is not white paper: skin, above all.
    pigment += 0.3 * ramp(wash[0] - wash[2], 0.08, 0.5) * ramp(tones, 0.6, 0.85)
    return pigment


def _absorbed(wash: Array, unit: float) -> Array:
    """Return what a unit of pigment takes from the light; its colour spreads further than its tone does."""
    spread = np.stack([blur(plane, 7 * unit) for plane in wash])
    grey = luminance(spread)
    skin = brushes.skin(spread.reshape(3, -1).T).reshape(grey.shape)
    spread = np.clip(grey + (1.7 - 0.6 * skin) * (spread - grey), 0.03, 0.97)
    absorbed = -brushes.log(spread)
    absorbed /= absorbed.mean(0) + 0.02
    return absorbed


def bold_print(pixels: Pixels, report: Report) -> Pixels:
    """A few flat inks with a halftone in the shades and heavy outlines, like a screen print."""
    study = Study(pixels, 3, report)
    unit, shape, fine = study.unit, study.shape, study.fine
    ink = study.ink(1.25)
    report(0.26)
    toned = brushes.Tone(study.grey, 0.55, white=0.97)(study.calm)
    flat = brushes.kuwahara(toned, 5 * fine)
    flat += brushes.beyond(toned - flat, 0.25)
    own = brushes.palette(flat, 6)
    inks = _poster(own)
    report(0.32)
    near = brushes.nearest_plane(flat, own)
    shares = [study.field(blur((near == index).astype(np.float32), 1.8 * fine)) for index in range(len(own))]
    printed = sum(tone * share.small for tone, share in zip(own @ brushes.LUMA, shares, strict=True))
    shade = study.field(np.clip(printed - luminance(flat), 0, 0.5).astype(np.float32))
    paper = brushes.Paper(shape, unit)
    report(0.4)

    def paint(rows: slice) -> Array:
        painted = np.zeros((3, rows.stop - rows.start, shape[1]), np.float32)
        total = np.full(painted.shape[1:], 1e-6, np.float32)
        for ink_colour, share in zip(inks, shares, strict=True):
            part = share.rows(rows)
            part *= part * part
            part *= part
            total += part
            for plane, value in zip(painted, ink_colour, strict=True):
                cv2.scaleAdd(part, float(value), plane, plane)
        dots = ramp(4 * shade.rows(rows) - brushes.halftone(rows, shape[1], 7 * unit), 0.02, 0.15)
        painted *= (1 - 0.3 * dots) / total
        grain = paper.grain(rows)
        missed = 0.6 * ramp(grain, 1.9, 2.4)
        lines = np.maximum(ramp(ink.rows(rows), 0.35, 1.1), study.strokes[rows]) * (1 - missed)
        painted += missed * (1 - painted)
        painted *= 1 - lines * (1 - colour(0.09, 0.09, 0.17))
        painted *= paper.sheet(colour(0.975, 0.95, 0.89), rows)
        return painted

    return study.painted(paint, report)


def _poster(colours: Array) -> Array:
    """Spread from deep to pale and stronger in hue, so that a dull picture too prints with a full range."""
    grey = colours @ brushes.LUMA
    spread = np.linspace(0.14, 0.93, len(colours), dtype=np.float32) if len(colours) > 2 else grey
    strong = brushes.saturated(colours, 1.6 - 0.35 * brushes.skin(colours)[:, None]) + (0.6 * (spread - grey))[:, None]
    return np.clip(strong + np.array([0, 0, 0.03], np.float32), 0.05, 0.98)


LOOKS: dict[str, Callable[[Pixels, Report], Pixels]] = {
    "v1": ink_and_watercolour,
    "v2": wet_watercolour,
    "v3": bold_print,
}
