"""Procedural photographs of crystallisation drops, for a demonstration without a real imager.

A scene is a stack of optical densities in front of a bright-field lamp: the well wall, the drop's meniscus,
what grew in the drop, and dust all add density, and the photograph is ``lamp * exp(-density)``. Densities are
natural logarithms; a negative one is a glint, where a curved surface has focused light.

Lengths are in units of the image's shorter side, with the origin at the image's centre, x to the right and
y down, so that one seed gives the same scene at every size of one aspect ratio.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from scipy.special import ndtri

Category = Literal["clear", "crystals", "other", "precipitate"]
Floats = NDArray[np.floating[Any]]
Rng = np.random.Generator
Shape = tuple[int, int]

# Smooth fields (distances, light) are computed on this many rows and enlarged: they have no detail to lose.
_COARSE_ROWS = 240
# The scene is drawn at no more than this many pixels a side and enlarged. A real objective is about as soft
# at full size, and MARCO itself sees the central square at 599 pixels.
_SCENE_PIXELS = 1152
# Protein that has come out of solution looks brown: it takes away blue before red.
_BROWN = (0.80, 1.0, 1.22)
_NOISE_LEVELS = 2.2  # standard deviation of the sensor's noise, of 255 levels
_HEADROOM = 8  # levels kept free at either end, more than the strongest of 256 quantiles of that noise


def render_drop(category: Category, seed: int, size: tuple[int, int] = (2592, 1944)) -> NDArray[np.uint8]:
    """Draw one photograph of a drop.

    Args:
        category: what the drop is to hold, in MARCO's four words.
        seed: any non-negative integer; the same category, seed and size give the same pixels.
        size: width and height in pixels.

    Returns:
        The photograph, uint8 RGB of shape (height, width, 3).
    """
    rng = np.random.default_rng([seed, _CATEGORIES.index(category)])
    width, height = size
    shrink = max(1.0, max(size) / _SCENE_PIXELS)
    shape = (round(height / shrink), round(width / shrink))

    lamp = _lamp(rng, shape)
    well = Well(rng.normal(0, 0.03), rng.normal(0, 0.03), rng.uniform(0.46, 0.55))
    drop = _drop(rng, shape, well)
    neutral = _wall(rng, shape, well) + _meniscus(drop) + _dust(rng, shape)
    brown = np.zeros(shape, np.float32)
    _CONTENTS[category](rng, drop, neutral, brown)

    channels = [light * np.exp(-(neutral + share * brown)) for light, share in zip(lamp, _BROWN, strict=True)]
    levels = [np.clip(channel, _HEADROOM, 255 - _HEADROOM).astype(np.uint8) for channel in channels]
    scene = Image.fromarray(np.dstack(levels)).resize(size, Image.Resampling.BILINEAR)
    return _add_sensor_noise(rng, scene)


@dataclass(frozen=True)
class Well:
    """The round well: its centre and radius."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Drop:
    """A drop in its well. Fields are float32 (rows, columns) of the scene."""

    depth: Floats  # distance inwards from the contact line, negative outside the drop
    inside: Floats  # 1 in the drop, 0 outside, soft over the contact line
    steepness: Floats  # 0..1, how steeply the drop's edge stands in this direction from its centre
    spots: Floats  # (n, 3) x, y and depth of places well inside the drop, in random order


def _grid(shape: Shape) -> tuple[Floats, Floats]:
    """Return x (1, columns) and y (rows, 1) of the coarse grid's pixel centres."""
    rows, columns = _COARSE_ROWS, round(_COARSE_ROWS * shape[1] / shape[0])
    x = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * (shape[1] / min(shape))
    y = ((np.arange(rows, dtype=np.float32) + 0.5) / rows - 0.5) * (shape[0] / min(shape))
    return x[None, :], y[:, None]


def _enlarge(field: Floats, shape: Shape, method: Image.Resampling = Image.Resampling.BICUBIC) -> Floats:
    image = Image.fromarray(np.asarray(field, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), method))


def _noise(rng: Rng, shape: Shape, cells: int, octaves: int = 1, gain: float = 0.5) -> Floats:
    """Smooth random field of about unit variance; its largest features are 1/cells of the height."""
    field = np.zeros((1, 1), np.float32)
    power = 0.0
    for octave in range(octaves):
        rows = cells * 2**octave
        grid = (rows + 1, round(rows * shape[1] / shape[0]) + 1)
        field = _enlarge(field, grid) + np.float32(gain**octave) * rng.standard_normal(grid, np.float32)
        power += gain ** (2 * octave)
    # Interpolation averages neighbours and leaves about half of the variance.
    return _enlarge(field, shape) * np.float32(np.sqrt(2 / power))


def _ramp(field: Floats, low: float, high: float) -> Floats:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _lamp(rng: Rng, shape: Shape) -> list[Floats]:
    """Red, green and blue of the light with no drop in it, each (rows, columns), 0..255."""
    x, y = _grid(shape)
    slope_x, slope_y = rng.normal(0, 0.10, 2)
    centre_x, centre_y = rng.normal(0, 0.12, 2)
    falloff = rng.uniform(0.15, 0.45)
    shade = 1 + slope_x * x + slope_y * y - falloff * ((x - centre_x) ** 2 + (y - centre_y) ** 2)
    shade = rng.uniform(188, 222) * (shade + 0.025 * _noise(rng, shade.shape, 3))
    # Stress in the plate's plastic turns polarised light: faint blotches of colour.
    channels = [
        rng.normal(tint, 0.012) * shade * (1 + 0.010 * _noise(rng, shade.shape, 2)) for tint in (1.03, 1.0, 0.945)
    ]
    return [_enlarge(channel, shape, Image.Resampling.BILINEAR) for channel in channels]


def _wall(rng: Rng, shape: Shape, well: Well) -> Floats:
    """Density of the well's wall, black because it bends the light away, and of the plate beyond it."""
    x, y = _grid(shape)
    beyond = _enlarge(np.hypot(x - well.x, y - well.y) - well.radius, shape)
    # The wall's outer side is a rounded square: a superellipse.
    outer_side = ((x - well.x) ** 4 + (y - well.y) ** 4) ** 0.25 - well.radius - rng.uniform(0.10, 0.16)
    plate = _enlarge(_ramp(outer_side, -0.02, 0.02), shape, Image.Resampling.BILINEAR)
    blur = rng.uniform(0.004, 0.014)
    wall = 2.9 * _ramp(beyond, -blur / 2, blur) * (1 - plate)
    wall += plate * (0.25 + 0.04 * _noise(rng, shape, 60, 3, 0.8))
    # The well's bottom edge is moulded round: a dim ring inside the wall and a bright line inside that.
    ring = np.exp(-(((beyond + 0.008) / 0.012) ** 2))
    return wall + 0.16 * ring - 0.14 * np.exp(-(((beyond + 0.018) / 0.004) ** 2))


def _drop(rng: Rng, shape: Shape, well: Well) -> Drop:
    x, y = _grid(shape)
    radius = rng.uniform(0.50, 0.74) * well.radius
    # A dispensed drop rarely lands in the middle; a large one has less room to stray.
    stray = rng.uniform(0, 0.85) * (well.radius - radius)
    bearing = rng.uniform(0, 2 * np.pi)
    across, down = x - well.x - stray * np.cos(bearing), y - well.y - stray * np.sin(bearing)
    distance = np.hypot(across, down) + 1e-6
    direction = (across + 1j * down) / distance
    outline = np.ones_like(distance)
    steepness = np.full_like(distance, rng.uniform(-0.1, 0.5))
    for harmonic in range(1, 7):
        wave = np.real(direction**harmonic * np.exp(1j * rng.uniform(0, 2 * np.pi)))
        steepness += wave * rng.normal(0, 0.6 / harmonic)
        if harmonic > 1:  # the first only moves a circle
            waviness: float = 0.14 / harmonic**1.7
            outline += wave * rng.normal(0, waviness)
    to_wall = well.radius - np.hypot(x - well.x, y - well.y)
    coarse_depth = np.minimum(radius * outline - distance, to_wall + 0.005)
    rows, columns = np.nonzero(coarse_depth > 0.22 * radius)
    spots = rng.permutation(np.stack([x[0, columns], y[rows, 0], coarse_depth[rows, columns]], axis=1))
    depth = _enlarge(coarse_depth, shape)
    return Drop(depth, _ramp(depth, -0.002, 0.002), _enlarge(_ramp(steepness, 0.0, 1.2), shape), spots)


def _meniscus(drop: Drop) -> Floats:
    """Density of the drop's edge: a thin line all round, and dark crescents where it is steep."""
    inwards = np.maximum(drop.depth, 0) / (0.006 + 0.03 * drop.steepness)
    crescent = (0.3 + 2.2 * drop.steepness) * np.exp(-inwards * inwards) * drop.inside
    line = (0.35 + 0.9 * drop.steepness) * np.exp(-((drop.depth / 0.0028) ** 2))
    glint = -0.10 * np.exp(-(((drop.depth + 0.006) / 0.004) ** 2))
    return crescent + line + glint + 0.05 * drop.inside


def _dust(rng: Rng, shape: Shape) -> Floats:
    """Density of specks on the plate and the optics."""
    density = np.zeros(shape, np.float32)
    half = np.array([shape[1], shape[0]]) / min(shape) / 2
    for _ in range(rng.integers(5, 16)):
        _add_disc(density, rng.uniform(-half, half), rng.uniform(0.0012, 0.0028), _speck, rng.uniform(0.25, 1.2))
    return density


def _add_sensor_noise(rng: Rng, scene: Image.Image) -> NDArray[np.uint8]:
    # Random bytes looked up among the normal distribution's quantiles: much cheaper than normal variates.
    quantiles = np.rint(_NOISE_LEVELS * ndtri((np.arange(256) + 0.5) / 256)).astype(int) % 256
    noise = Image.frombytes("RGB", scene.size, rng.bytes(3 * scene.width * scene.height))
    # A negative value wraps round in its byte and back again in the sum, which _HEADROOM keeps in range.
    return np.asarray(scene) + np.asarray(noise.point(quantiles.tolist() * 3))


def _add_patch(density: Floats, patch: Floats, top: int, left: int) -> None:
    """Add a patch to the part of a field that it lies on."""
    bottom, right = top + patch.shape[0], left + patch.shape[1]
    target = density[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    up, start = max(0, -top), max(0, -left)
    target += patch[up : up + target.shape[0], start : start + target.shape[1]]


def _add_disc(
    density: Floats,
    spot: Floats,
    radius: float,
    profile: Callable[[Floats], Floats],
    strength: float,
) -> None:
    """Add a round body, its density a function of the distance from its centre in radii."""
    unit = min(density.shape)
    column, row = np.array(density.shape[::-1]) / 2 + spot[:2] * unit
    reach = int(1.6 * radius * unit) + 2
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    r = np.hypot(steps[:, None] - row % 1, steps[None, :] - column % 1) / (radius * unit)
    _add_patch(density, strength * profile(r), int(row) - reach, int(column) - reach)


def _speck(r: Floats) -> Floats:
    return np.exp(-r * r)


def _spherulite(r: Floats) -> Floats:
    """Clearest at the nucleus, then rings of growth, and a fuzzy outside."""
    return (1 - 0.45 * np.exp(-((r / 0.35) ** 2)) + 0.2 * np.cos(14 * r)) / (1 + np.exp((r - 1) * 12))


def _pool(r: Floats) -> Floats:
    """A flat droplet of a second liquid: a little darker than the first, with a dark edge."""
    return 0.25 / (1 + np.exp((r - 1) * 25)) + 0.5 * np.exp(-(((r - 1) / 0.08) ** 2))


@dataclass(frozen=True)
class Habit:
    """The shape that the crystals of one drop share. Pairs are the ends of a range."""

    sides: tuple[int, ...]
    width: tuple[float, float]  # of a cross-section, over its breadth
    length: tuple[float, float]  # over half the breadth
    cap: tuple[float, float]  # share of the length that the pyramids at its ends take
    tilt: float  # how far a crystal leans from where it would lie, in radians
    breadth: tuple[float, float]  # half of it
    count: tuple[int, int]


_HABITS = (
    Habit((4, 6), (0.7, 1.0), (0.8, 1.3), (0.0, 0.3), 3.0, (0.022, 0.045), (3, 10)),  # blocks
    Habit((4, 6), (0.5, 1.0), (0.12, 0.22), (0.0, 0.0), 0.6, (0.030, 0.060), (5, 10)),  # plates
    Habit((4, 6), (0.6, 1.0), (3.0, 6.0), (0.0, 0.25), 0.4, (0.010, 0.018), (3, 12)),  # rods
    Habit((4,), (0.8, 1.0), (1.4, 1.8), (0.9, 1.0), 0.5, (0.022, 0.040), (3, 10)),  # bipyramids
    Habit((4,), (0.5, 1.0), (16.0, 30.0), (0.0, 0.1), 0.3, (0.0028, 0.0042), (7, 18)),  # needles
)


def _crystal(rng: Rng, habit: Habit) -> Floats:
    """Corners (n, 3) of a prism with pyramids on its ends, turned as it might have come to rest."""
    sides = int(rng.choice(habit.sides))
    # Faces grow at unequal rates, so the corners are uneven; rings of one outline keep every face flat.
    angles = (np.arange(sides) + 0.5 + rng.uniform(-0.12, 0.12, sides)) * 2 * np.pi / sides
    cap = rng.uniform(*habit.cap)
    tip = 0.15 if cap > 0 else 1.0
    rings = ((1.0, 1 - cap), (1.0, cap - 1), (tip, 1.0), (tip, -1.0))
    corners = np.array([(r * np.cos(angle), r * np.sin(angle), z) for r, z in rings for angle in angles])
    length = rng.uniform(*habit.length)
    corners *= rng.uniform(*habit.breadth) * np.array([1.0, rng.uniform(*habit.width), length])
    # Long crystals lie along the bottom of the drop; flat ones lie on their face.
    lie = (np.pi / 2 if length > 1.3 else 0.0) + rng.uniform(-habit.tilt, habit.tilt)
    turns = [rng.uniform(0, np.pi), lie, rng.uniform(0, 2 * np.pi)]
    return np.asarray(Rotation.from_euler("zyz", turns).apply(corners))


def _facets(crystal: Floats) -> list[tuple[Floats, Floats]]:
    """Outward normal (3,) and corners (n, 3) in order round it, of each facet of a convex body."""
    hull = ConvexHull(crystal)
    planes: dict[tuple[float, ...], set[int]] = {}
    for plane, triangle in zip(hull.equations, hull.simplices, strict=True):
        planes.setdefault(tuple(np.round(plane, 4)), set()).update(triangle.tolist())
    facets: list[tuple[Floats, Floats]] = []
    for plane, members in planes.items():
        normal = np.array(plane[:3])
        corners = crystal[sorted(members)]
        spokes = corners - corners.mean(axis=0)
        turn = np.arctan2(spokes @ np.cross(normal, spokes[0]), spokes @ spokes[0])
        facets.append((normal, corners[np.argsort(turn)]))
    return facets


def _add_crystal(density: Floats, spot: Floats, crystal: Floats, light: float, strength: float) -> None:
    """Draw a transparent body lit askew from an angle: facets bend the light a little, edges scatter it."""
    fine = 2  # drawn at twice the scene's resolution and averaged, or thin edges would be jagged
    unit = min(density.shape)
    reach = int(np.abs(crystal[:, :2]).max() * unit) + 6
    side = 2 * reach * fine
    patch = np.zeros((side, side), np.float32)
    for normal, corners in _facets(crystal):
        outline = [(float(x), float(y)) for x, y in corners[:, :2] * unit * fine + reach * fine]
        filled = Image.new("L", (side, side))
        ImageDraw.Draw(filled).polygon(outline, fill=1)
        facing = normal[0] * np.cos(light) + normal[1] * np.sin(light)
        nearer = 1.0 if normal[2] > 0 else 0.5  # the far side is seen through the crystal
        patch += (0.35 * facing * nearer + 0.25 * (1 - abs(normal[2]))) * np.asarray(filled, np.float32)
        patch += nearer * _edges(side, outline, light)
    soft = gaussian_filter(patch.reshape(side // fine, fine, -1, fine).mean(axis=(1, 3)), 0.6)
    # Edges throw the light they scatter beside them: the bright fringe that makes a crystal look sharp.
    soft -= 0.5 * np.maximum(gaussian_filter(soft, 2.5) - soft, 0)
    column, row = (np.array(density.shape[::-1]) / 2 + spot[:2] * unit).astype(int)
    _add_patch(density, np.float32(strength) * soft, row - reach, column - reach)


def _edges(side: int, outline: list[tuple[float, float]], light: float) -> Floats:
    """Density of the lines round a facet: an edge across the light is darker than one along it."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
        across = abs(np.sin(np.arctan2(y1 - y0, x1 - x0) - light))
        draw.line([(x0, y0), (x1, y1)], fill=round(255 * (0.4 + 0.5 * across)), width=3)
    return np.asarray(image, np.float32) / 255


def _add_nothing(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    """A clear drop has nothing but its edge and the dust."""


def _add_crystals(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    """Crystals of one form grow alike: one habit a drop, in differing sizes and attitudes."""
    habit = _HABITS[rng.integers(len(_HABITS))]
    light = rng.uniform(0, 2 * np.pi)
    deepest = drop.spots[:, 2].max()
    for _ in range(rng.integers(*habit.count)):
        crystal = _crystal(rng, habit)
        # Surface tension keeps a crystal within the contact line.
        room = min(np.abs(crystal).max(), 0.9 * deepest)
        fits = drop.spots[drop.spots[:, 2] > room]
        _add_crystal(neutral, fits[rng.integers(len(fits))], crystal, light, rng.uniform(0.75, 1.2))


def _add_precipitate(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    """Amorphous protein: brown clouds of barely resolved grains, thickest where they have settled."""
    shape = neutral.shape
    clouds = 0.5 * _noise(rng, shape, 4, 4) + rng.uniform(0.5, 1.1) + 2.5 * (np.minimum(drop.depth, 0.1) - 0.05)
    mottle = rng.uniform(0.07, 0.14) * _noise(rng, shape, 12, 5)
    # Grains stay near the limit of what is resolved: larger ones are microcrystals, to the eye and to MARCO.
    grain = rng.uniform(0.07, 0.11) * _noise(rng, shape, 300, 2, 0.9)
    brown += np.clip(clouds, 0.1, 1.8) * _ramp(drop.depth, 0.0, 0.03) * (rng.uniform(0.2, 0.55) + mottle + grain)


def _add_skin(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    """A film of denatured protein, wrinkled along the contours of how far it has sagged."""
    sag = _noise(rng, neutral.shape, 3, 3)
    slack = np.clip(0.9 + 0.5 * _noise(rng, neutral.shape, 5), 0.2, 1.4)
    wrinkles = np.zeros_like(sag)
    for contour in np.arange(-1.1, 1.2, rng.uniform(0.38, 0.55)):
        wrinkles += np.exp(-np.abs(sag - contour) / 0.03)
    brown += _ramp(drop.depth, 0.0, 0.02) * (0.05 + rng.uniform(0.45, 0.65) * slack * wrinkles)


def _add_spherulites(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    """Dark fuzzy balls of fibres that radiate from a nucleus."""
    size = rng.uniform(0.014, 0.024)
    for spot in drop.spots[: rng.integers(7, 15)]:
        _add_disc(brown, spot, size * rng.uniform(0.6, 1.4), _spherulite, rng.uniform(0.9, 1.6))


def _add_oil(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    """Phase separation: round droplets of a second liquid, the odd one much larger than the rest."""
    for spot in drop.spots[: rng.integers(14, 26)]:
        _add_disc(neutral, spot, min(0.011 + 0.006 * rng.pareto(1.5), 0.042), _pool, rng.uniform(0.8, 1.2))


def _add_other(rng: Rng, drop: Drop, neutral: Floats, brown: Floats) -> None:
    kinds = (_add_skin, _add_spherulites, _add_oil)
    kinds[rng.integers(len(kinds))](rng, drop, neutral, brown)


_CATEGORIES: tuple[Category, ...] = ("clear", "crystals", "other", "precipitate")
_CONTENTS: dict[Category, Callable[[Rng, Drop, Floats, Floats], None]] = {
    "clear": _add_nothing,
    "crystals": _add_crystals,
    "other": _add_other,
    "precipitate": _add_precipitate,
}
