"""The drawing of an episode that the report's player shows: its format, checks, and compact form.

A scene is plain data, so that a domain can draw without knowing the player::

    {
      "title": "Warehouse, 4 learning robots",
      "width": 18, "height": 18,            # world units; x to the right, y down
      "background": [shape, ...],           # drawn once, in this order
      "styles": {name: style, ...},         # how movers and marks look
      "frames": [{
          "movers": [[id, x, y, style], ...],   # id: whole number; a fifth entry is a heading in degrees,
                                                # clockwise from "to the right", for shapes that have one
          "marks": [[x, y, style, value], ...], # value 0..1
          "text": "step 3 · return so far 0.52",
      }, ...],                              # one a step
      "legend": [{"style": name, "label": text, "range": [text at 0, text at 1]}, ...],  # range: ramps only
    }

Movers with the same id in successive frames glide from one place to the next; marks belong to their frame.
Marks lie below movers, unless their style says ``above``.

shape: ``kind`` with a list ``at``: ``rect`` [x, y, w, h], ``circle`` [x, y, r], ``line`` [x, y, x, y, ...],
``text`` [x, y, text]; and ``fill``, ``stroke`` (colours), ``line`` (width of the stroke, world units),
``radius`` (of corners), ``dash`` (length of dashes, 0 none), ``size`` (of text).

style: ``shape`` (``disc``, ``square``, ``diamond``, ``ring``, ``bar``: a bar points along the heading);
``size`` (diameter or side, world units; a bar: its length) and ``width`` (of a bar); ``fill``, ``stroke``,
``line``; ``core`` (colour of a dot in the middle); ``ramp`` (colours for value 0 to 1, instead of ``fill``);
``pulse`` (true: it widens and fades until the next frame); ``above`` (true: drawn over the movers);
``show_value`` (true: the value floats up as a number); ``steady`` (true: it glides at constant speed, as what
drives on does; otherwise it starts and stops in every frame).

colour: ``"#rrggbb"`` or ``"#rrggbbaa"``, or a pair of them: ``[on a light page, on a dark page]``.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from dials_async.drawings import MAX_SCENE_BYTES
from dials_async.errors import UsageError

Scene = Mapping[str, Any]

SHAPE_KINDS = {"rect": 4, "circle": 3, "line": 4, "text": 3}
STYLE_SHAPES = ("disc", "square", "diamond", "ring", "bar")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?")
_SHAPE_KEYS = {"kind", "at", "fill", "stroke", "line", "radius", "dash", "size"}
_STYLE_KEYS = {
    *("shape", "size", "width", "fill", "stroke", "line", "core", "ramp"),
    *("pulse", "above", "show_value", "steady"),
}
_COLOUR_KEYS = {"fill", "stroke", "core"}


def validate_scene(scene: Any, where: str = "scene") -> Scene:
    """``scene`` itself, after all its fields are checked.

    Args:
        scene: What should be a scene.
        where: What to call it in an error, for instance the file's path.

    Raises:
        UsageError: the first field that is wrong, by its path: ``scene: frames[3].movers[0]: ...``.
    """

    def check(holds: bool, path: str, wanted: str) -> None:
        if not holds:
            raise UsageError(f"{where}: {path} must be {wanted}")

    check(isinstance(scene, dict), "the whole", "an object")
    check(isinstance(scene.get("title"), str), "title", "a text")
    for key in ("width", "height"):
        check(_number(scene.get(key)) and scene[key] > 0, key, "a number above 0")
    for key in ("background", "legend"):
        check(isinstance(scene.get(key, []), list), key, "a list")
    for i, shape in enumerate(scene.get("background", [])):
        _check_shape(shape, f"background[{i}]", check)
    styles = scene.get("styles")
    check(isinstance(styles, dict), "styles", "an object")
    for name, style in styles.items():
        _check_style(style, f"styles.{name}", check)
    for i, entry in enumerate(scene.get("legend", [])):
        known = isinstance(entry, dict) and _known(entry.get("style"), styles)
        check(known, f"legend[{i}]", "an object with a known style")
        check(isinstance(entry.get("label"), str), f"legend[{i}].label", "a text")
        check(len(entry.get("range", ["", ""])) == 2, f"legend[{i}].range", "two texts")
    frames = scene.get("frames")
    check(isinstance(frames, list) and len(frames) > 0, "frames", "a list with at least one frame")
    for i, frame in enumerate(frames):
        _check_frame(frame, f"frames[{i}]", styles, check)
    return dict(scene)


_Check = Callable[[bool, str, str], None]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _known(name: Any, styles: Mapping[str, Any]) -> bool:
    return isinstance(name, str) and name in styles


def _colour(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 2 and all(isinstance(v, str) and _COLOUR.fullmatch(v) for v in value)
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


def _check_shape(shape: Any, path: str, check: _Check) -> None:
    check(isinstance(shape, dict) and set(shape) <= _SHAPE_KEYS, path, f"an object of {sorted(_SHAPE_KEYS)}")
    kind = shape.get("kind")
    check(isinstance(kind, str) and kind in SHAPE_KINDS, f"{path}.kind", f"one of {sorted(SHAPE_KINDS)}")
    check(isinstance(shape.get("at"), list), f"{path}.at", "a list")
    for place in shape["at"]:
        numbers = place[:2] if isinstance(place, list) and kind == "text" else place
        sized = isinstance(place, list) and (
            len(place) == SHAPE_KINDS[kind] or (kind == "line" and len(place) >= 4 and len(place) % 2 == 0)
        )
        check(sized and all(map(_number, numbers)), f"{path}.at", f"a list of the places of a {kind}")
        check(kind != "text" or isinstance(place[2], str), f"{path}.at", "a list of [x, y, text]")
    _check_values(shape, path, ("line", "radius", "dash", "size"), check)


def _check_style(style: Any, path: str, check: _Check) -> None:
    check(isinstance(style, dict) and set(style) <= _STYLE_KEYS, path, f"an object of {sorted(_STYLE_KEYS)}")
    check(style.get("shape") in STYLE_SHAPES, f"{path}.shape", f"one of {sorted(STYLE_SHAPES)}")
    check(_number(style.get("size")), f"{path}.size", "a number")
    _check_values(style, path, ("size", "width", "line"), check)
    if "ramp" in style:
        ramp = style["ramp"]
        valid = isinstance(ramp, list) and len(ramp) > 1 and all(map(_colour, ramp))
        check(valid, f"{path}.ramp", "a list of two colours or more")
    for key in ("pulse", "above", "show_value", "steady"):
        check(isinstance(style.get(key, False), bool), f"{path}.{key}", "true or false")


def _check_values(values: Mapping[str, Any], path: str, numbers: tuple[str, ...], check: _Check) -> None:
    for key in numbers:
        check(
            key not in values or (_number(values[key]) and values[key] >= 0), f"{path}.{key}", "a number >= 0"
        )
    for key in _COLOUR_KEYS & set(values):
        check(_colour(values[key]), f"{path}.{key}", 'a colour "#rrggbb" or a pair [light, dark] of them')


def _check_frame(frame: Any, path: str, styles: Mapping[str, Any], check: _Check) -> None:
    check(isinstance(frame, dict), path, "an object")
    check(isinstance(frame.get("text", ""), str), f"{path}.text", "a text")
    for key in ("movers", "marks"):
        check(isinstance(frame.get(key, []), list), f"{path}.{key}", "a list")
    for i, mover in enumerate(frame.get("movers", [])):
        valid = (
            isinstance(mover, list | tuple)
            and len(mover) in (4, 5)
            and isinstance(mover[0], int)
            and all(map(_number, [*mover[:3], *mover[4:]]))
            and _known(mover[3], styles)
        )
        check(valid, f"{path}.movers[{i}]", "[whole number id, x, y, known style] and perhaps a heading")
    for i, mark in enumerate(frame.get("marks", [])):
        valid = (
            isinstance(mark, list | tuple)
            and len(mark) == 4
            and all(map(_number, [*mark[:2], mark[3]]))
            and _known(mark[2], styles)
            and 0 <= mark[3] <= 1
        )
        check(valid, f"{path}.marks[{i}]", "[x, y, known style, value 0..1]")


def pack_scene(scene: Scene, max_bytes: int = MAX_SCENE_BYTES) -> tuple[str, int]:
    """The scene as the compact JSON that the player reads, and how many frames are in it.

    Movers and marks become flat arrays with the number of their style, rounded to 2 decimals. What still does
    not fit into ``max_bytes`` loses its last frames; with none left, the text is empty.

    Args:
        scene: A valid scene.
        max_bytes: Upper bound for the length of the text, in bytes of UTF-8.
    """
    number_of = {name: i for i, name in enumerate(scene["styles"])}
    head = {
        "title": scene["title"],
        "width": scene["width"],
        "height": scene["height"],
        "background": _rounded(scene.get("background", [])),
        "styles": _rounded(list(scene["styles"].values())),
        "legend": [{**entry, "style": number_of[entry["style"]]} for entry in scene.get("legend", [])],
    }
    text = _dump(head)[:-1] + ',"frames":['
    room = max_bytes - len(text.encode()) - len("]}")
    frames: list[str] = []
    for frame in scene["frames"]:
        packed = _dump(_packed_frame(frame, number_of))
        room -= len(packed.encode()) + 1
        if room < 0:
            break
        frames.append(packed)
    return (text + ",".join(frames) + "]}", len(frames)) if frames else ("", 0)


def _packed_frame(frame: Mapping[str, Any], number_of: Mapping[str, int]) -> dict[str, Any]:
    movers: list[Any] = []  # flat: id, x, y, style, heading in degrees
    for mover_id, x, y, style, *heading in frame.get("movers", []):
        movers += [mover_id, _short(x), _short(y), number_of[style], _short(heading[0]) if heading else 0]
    marks: list[Any] = []  # flat: x, y, style, value
    for x, y, style, value in frame.get("marks", []):
        marks += [_short(x), _short(y), number_of[style], _short(value)]
    return {"movers": movers, "marks": marks, "text": frame.get("text", "")}


def _short(value: float) -> float | int:
    rounded = round(float(value), 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return _short(value) if isinstance(value, float) else value


def _dump(value: Any) -> str:
    """Compact JSON that is safe inside a <script> element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace(
        "<", "\\u003c"
    )
