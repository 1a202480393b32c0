"""A photo to try Darkroom with, made here: nothing has to be found or downloaded, and nobody's rights are touched."""

from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 2400, 1600
HORIZON = 0.62
"""Where the lake begins, as a part of the height."""

SKY = ((0.0, (44, 62, 110)), (0.45, (196, 138, 142)), (0.8, (250, 190, 126)), (1.0, (255, 221, 158)))
RIDGES = (
    # base, height (parts of the horizon's), frequency, colour
    (0.72, 0.20, 2.1, (150, 130, 154)),
    (0.80, 0.16, 3.3, (112, 104, 136)),
    (0.88, 0.13, 4.7, (74, 78, 110)),
    (0.97, 0.09, 7.9, (42, 54, 76)),
)
SUN = (0.62, 0.53)
"""Its place: parts of the width, and of the horizon's height."""


def jpeg() -> bytes:
    """Encode the sample as a camera would: with its model, a time, an exposure and a position."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Darkroom", "Sample"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.Base.DateTime] = "2026:06:21 21:14:07"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.DateTimeOriginal: "2026:06:21 21:14:07",
            ExifTags.Base.ExposureTime: 0.008,
            ExifTags.Base.FNumber: 5.6,
            ExifTags.Base.ISOSpeedRatings: 200,
            ExifTags.Base.FocalLength: 35.0,
        }
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            ExifTags.GPS.GPSLatitudeRef: "N",
            ExifTags.GPS.GPSLatitude: (46.0, 21.0, 50.0),
            ExifTags.GPS.GPSLongitudeRef: "E",
            ExifTags.GPS.GPSLongitude: (14.0, 5.0, 38.0),
        }
    )
    out = BytesIO()
    picture().save(out, "JPEG", quality=92, exif=exif.tobytes())
    return out.getvalue()


def picture() -> Image.Image:
    """Draw a lake between mountains at sunset, with the fine noise of a sensor; the same at every call."""
    random = np.random.default_rng(21)
    shore = int(HEIGHT * HORIZON)
    x = np.linspace(0, 1, WIDTH, dtype=np.float32)
    y = np.linspace(0, 1, shore, dtype=np.float32)

    stops = [stop for stop, _ in SKY]
    sky = np.stack([np.interp(y, stops, [colour[band] for _, colour in SKY]) for band in range(3)], axis=1)
    scene = np.repeat(sky[:, None, :], WIDTH, axis=1).astype(np.float32)
    distance = np.hypot((x[None, :] - SUN[0]) * WIDTH / shore, y[:, None] - SUN[1])
    scene += np.exp(-distance / 0.16)[..., None] * np.array((70, 60, 30), np.float32)
    scene[distance < 0.045] = (255, 246, 214)

    for base, height, frequency, colour in RIDGES:
        phases = random.uniform(0, 2 * np.pi, 7)
        waves = [np.sin(2 * np.pi * frequency * 2.17**n * x + phases[n]) / 2**n for n in range(7)]
        ridge = base - height * (0.5 + 0.32 * np.sum(waves, axis=0))
        depth = np.clip((y[:, None] - ridge[None, :]) / (1 - ridge[None, :]), 0, 1)
        # Mist lies in the valleys: each ridge grows paler towards its foot.
        slope = np.array(colour, np.float32) + depth[..., None] * np.array((70, 52, 40), np.float32)
        scene = np.where((y[:, None] > ridge[None, :])[..., None], slope, scene)

    # The lake shows the scene upside down, darker, and shaken by ripples that grow towards the viewer.
    rows = np.arange(HEIGHT - shore, dtype=np.float32)
    near = rows / rows[-1]
    ripples = np.sin(rows[:, None] * (0.9 - 0.6 * near[:, None]) + 9 * np.sin(17 * x[None, :] + rows[:, None] / 40))
    source = np.clip(shore - 1 - rows[:, None] * 1.1 + ripples * (1 + 14 * near[:, None]), 0, shore - 1).astype(np.intp)
    columns = np.clip(np.arange(WIDTH)[None, :] + ripples * 5, 0, WIDTH - 1).astype(np.intp)
    lake = scene[source, columns] * (0.86 - 0.28 * near[:, None, None]) + np.array((0, 6, 14), np.float32)
    image = Image.fromarray(np.clip(np.concatenate([scene, lake]), 0, 255).astype(np.uint8))

    # Firs on both banks, from the back to the front.
    draw = ImageDraw.Draw(image)
    for number in range(64):
        size = HEIGHT * (0.10 + 0.34 * number / 64) * random.uniform(0.7, 1.2)
        side = random.uniform(0, 0.30) ** 1.25
        left = WIDTH * (side if number % 3 else 1 - side * 0.62)
        foot = HEIGHT * (0.72 + 0.34 * number / 64)
        light = random.uniform(0.85, 1.1) * (1 - 0.6 * number / 64)
        shade = tuple(int(band * light) for band in (34, 50, 58))
        draw.rectangle((left - size * 0.014, foot - size * 0.2, left + size * 0.014, foot + size), fill=shade)
        for level in np.linspace(0, 1, 15):
            reach = size * (0.03 + 0.17 * level) * random.uniform(0.85, 1.1)
            top = foot - size * (1 - 0.86 * level)
            hem = top + size * 0.07
            draw.polygon([(left, top - size * 0.05), (left - reach, hem), (left + reach, hem)], fill=shade)
    for bird in range(7):
        left, top = WIDTH * (0.34 + 0.022 * bird), HEIGHT * (0.18 + 0.014 * abs(bird - 3))
        wings = [(left - 14, top - 6), (left - 4, top - 9), (left, top), (left + 5, top - 9), (left + 15, top - 5)]
        draw.line(wings, (52, 52, 74), 3)

    photo = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), np.float32)
    return Image.fromarray(np.clip(photo + random.normal(0, 3.5, photo.shape), 0, 255).astype(np.uint8))
