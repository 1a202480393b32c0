"""Colour of any kind to sRGB, as browsers show it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from uploads.formats import Chromaticities, Cicp, Colour

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

D65 = (0.3127, 0.3290)
SRGB = Chromaticities(D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
BT2020 = Chromaticities(D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
# By their number in ITU-T H.273, table 2.
PRIMARIES = {
    1: SRGB,
    5: Chromaticities(D65, (0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    6: Chromaticities(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: Chromaticities(D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: BT2020,
    11: Chromaticities((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: Chromaticities(D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
# Table 3.
GAMMA_22, GAMMA_28, LINEAR, PQ, HLG = 4, 5, 8, 16, 18
CAMERAS = {1, 6, 14, 15}
"""Transfer characteristics of BT.709, BT.601 and BT.2020, which share one curve."""

STEPS: Doubles = np.linspace(0, 1, 256)
"""The 256 values of a channel."""
SRGB_CURVE: Doubles = np.where(STEPS <= 0.04045, STEPS / 12.92, ((STEPS + 0.055) / 1.055) ** 2.4)

WHITE_NITS = 203.0
"""Luminance of reference white in HDR (ITU-R BT.2408)."""
PEAK_NITS = 1000.0
"""Peak luminance of a picture that does not state its own."""
STRIP_PIXELS = 1 << 18
"""Of what is converted at once, in floats."""
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
BRADFORD: Doubles = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def in_srgb(image: Image.Image, colour: Colour) -> Image.Image:
    """The picture, of mode L, RGB or CMYK, as RGB."""
    if colour.icc:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(colour.icc))
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB").apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError):
            return image.convert("RGB")  # a broken profile, or one for another kind of picture, is as good as none
    plain = image.convert("RGB")
    shown = _conversion(colour)
    if shown:
        rows = max(1, STRIP_PIXELS // plain.width)
        for top in range(0, plain.height, rows):
            strip = plain.crop((0, top, plain.width, min(top + rows, plain.height)))
            plain.paste(Image.fromarray(shown(np.asarray(strip))), (0, top))
    return plain


def _conversion(colour: Colour) -> Callable[[Bytes], Bytes] | None:
    """What turns values of this colour into those of sRGB; None where they are the same."""
    if colour.cicp:
        primaries, transfer = PRIMARIES.get(colour.cicp.primaries, SRGB), colour.cicp.transfer
        if transfer in {PQ, HLG}:
            return partial(_hdr_shown, primaries, transfer, colour.peak_nits or PEAK_NITS)
        curve = _sdr_curve(colour.cicp)
        if primaries != SRGB or curve is not SRGB_CURVE:
            return partial(_sdr_shown, primaries, curve)
    elif colour.gamma:
        primaries = _sensible(colour.chromaticities) or SRGB
        if abs(colour.gamma - 2.2) >= 0.1 or not _is_near(primaries, SRGB):
            return partial(_sdr_shown, primaries, STEPS**colour.gamma)
    return None


def _sdr_shown(primaries: Chromaticities, curve: Doubles, values: Bytes) -> Bytes:
    return _shown(_light(values, curve), primaries)


def _hdr_shown(primaries: Chromaticities, transfer: int, peak_nits: float, values: Bytes) -> Bytes:
    light = _light(values, _hdr_curve(transfer))
    if primaries != BT2020:  # in which the OOTF and the tone mapping are defined
        light = np.maximum(light @ _between(primaries, BT2020).T, 0)
    if transfer == HLG:  # the OOTF, for a screen of 1000 nits
        light *= (light @ BT2020_LUMINANCE)[:, :, None] ** 0.2 * (PEAK_NITS / WHITE_NITS)
    return _shown(_tone_mapped(light, peak_nits), BT2020)


def _light(values: Bytes, curve: Doubles) -> Floats:
    """Linear light for each pixel and channel; `curve` has that of each of the 256 values."""
    light: Floats = curve.astype(np.float32)[values]
    return light


def _sdr_curve(cicp: Cicp) -> Doubles:
    """Light for each value. Cameras' curves are shown as displays show video (BT.1886) or, outside PNG, as sRGB."""
    powers = {GAMMA_22: 2.2, GAMMA_28: 2.8, LINEAR: 1.0}
    if cicp.display_referred:
        powers |= dict.fromkeys(CAMERAS, 2.4)
    return STEPS ** powers[cicp.transfer] if cicp.transfer in powers else SRGB_CURVE


def _hdr_curve(transfer: int) -> Doubles:
    """Light for each value (ITU-R BT.2100), where 1 is the page's white; HLG's without its last step, the OOTF."""
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        power = STEPS ** (1 / m2)
        return 10_000 / WHITE_NITS * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(STEPS <= 0.5, STEPS**2 / 3, (np.exp((STEPS - c) / a) + b) / 12)


def _tone_mapped(light: Floats, peak_nits: float) -> Floats:
    """Bring the picture's peak down to white, by the largest channel of each pixel.

    Light up to the page's white is dimmed evenly, by half where the peak has 1000 nits or more; from there to the peak
    it rises with the logarithm. Numbers are fitted to what Chromium shows of a picture of 1000 nits.
    """
    peak = max(1.001, peak_nits / WHITE_NITS)
    white = 2.0 ** -min(1.0, (math.log(peak) / math.log(PEAK_NITS / WHITE_NITS)) ** 1.26)
    largest = np.maximum(light.max(axis=2, keepdims=True), 1e-6)
    part = np.clip(np.log(np.maximum(largest, 1)) / math.log(peak), 0, 1)
    bright = white + (1 - white) * part + 0.1 * part * (1 - part)
    factor: Floats = (np.where(largest <= 1, white * largest, bright) / largest).astype(np.float32)
    return light * factor


def _shown(light: Floats, primaries: Chromaticities) -> Bytes:
    """Linear light of these primaries as sRGB; what sRGB cannot show is clipped."""
    linear = np.clip(light @ _between(primaries, SRGB).T, 0, 1)
    shown: Bytes = _srgb_values()[np.round(linear * 65535).astype(np.uint16)]
    return shown


@cache
def _srgb_values() -> Bytes:
    """The value in sRGB for each of 65536 steps of light."""
    light = np.linspace(0, 1, 1 << 16)
    curve = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(curve * 255).astype(np.uint8)


def _between(one: Chromaticities, other: Chromaticities) -> Floats:
    """The matrix from linear RGB of one space to that of another, whose white is D65."""
    return (np.linalg.inv(_to_xyz(other)) @ _adaptation(one.white) @ _to_xyz(one)).astype(np.float32)


def _to_xyz(space: Chromaticities) -> Doubles:
    """The matrix from linear RGB to XYZ (SMPTE RP 177)."""
    corners = np.array([_xyz(*corner) for corner in (space.red, space.green, space.blue)]).T
    return corners * np.linalg.solve(corners, _xyz(*space.white))


def _xyz(x: float, y: float) -> Doubles:
    return np.array([x / y, 1, (1 - x - y) / y])


def _adaptation(white: tuple[float, float]) -> Doubles:
    """Bradford's, from this white to that of sRGB."""
    scale = np.diag((BRADFORD @ _xyz(*D65)) / (BRADFORD @ _xyz(*white)))
    return np.linalg.inv(BRADFORD) @ scale @ BRADFORD


def _sensible(space: Chromaticities | None) -> Chromaticities | None:
    """None for what spans no space, or has a white that nothing can be adapted from."""
    if space is None or min(y for _, y in space) <= 0:
        return None
    spanned = abs(np.linalg.det(np.array([_xyz(*corner) for corner in space[1:]])))
    return space if spanned > 1e-3 and (BRADFORD @ _xyz(*space.white)).min() > 0 else None


def _is_near(one: Chromaticities, other: Chromaticities) -> bool:
    return bool(np.abs(np.array(one) - np.array(other)).max() < 0.01)
