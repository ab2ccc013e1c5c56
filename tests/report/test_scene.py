"""The format of scenes: what is accepted, what is refused and how, and that a page stays small."""

import copy
import json
from typing import Any

import pytest

from dials_async.drawings import MAX_SCENE_BYTES
from dials_async.errors import UsageError
from dials_async.report.scene import pack_scene, validate_scene

from .synthetic import random_walk_scene


def crossing(**changes: Any) -> dict[str, Any]:
    """A small scene of another domain: a car with a heading, and a traffic light."""
    scene = {
        "title": "Crossing",
        "width": 100,
        "height": 60.5,
        "background": [
            {"kind": "rect", "at": [[0, 0, 100, 60]], "fill": ["#eeeeee", "#111111"], "radius": 2},
            {"kind": "line", "at": [[0, 30, 50, 30, 100, 30]], "stroke": "#888888", "line": 4, "dash": 3},
            {"kind": "text", "at": [[50, 55, "Main <street>"]], "size": 4, "fill": "#000000"},
        ],
        "styles": {
            "car": {"shape": "bar", "size": 5, "width": 2, "fill": "#0067a8", "steady": True},
            "light": {"shape": "disc", "size": 3, "ramp": ["#ff0000", "#00ff00"], "above": True},
        },
        "frames": [
            {
                "movers": [[7, 10.123456, 30, "car", 90]],
                "marks": [[50, 28, "light", 0.3333]],
                "text": "step 0",
            },
            {"movers": [[7, 20, 30, "car", 90]], "marks": [], "text": "step 1"},
        ],
        "legend": [{"style": "light", "label": "light", "range": ["red", "green"]}],
    }
    return {**copy.deepcopy(scene), **changes}


def frame(**changes: Any) -> list[dict[str, Any]]:
    return [{"movers": [], "marks": [], "text": "", **changes}]


def test_a_scene_is_packed_flat_and_rounded() -> None:
    text, frames = pack_scene(validate_scene(crossing()))

    assert frames == 2
    assert "<" not in text
    packed = json.loads(text)
    assert packed["frames"][0] == {
        "movers": [7, 10.12, 30, 0, 90],
        "marks": [50, 28, 1, 0.33],
        "text": "step 0",
    }
    assert packed["background"][2]["at"][0][2] == "Main <street>"
    assert packed["legend"][0]["style"] == 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"title": 3}, "title must be a text"),
        ({"width": 0}, "width must be a number above 0"),
        ({"height": float("inf")}, "height must be"),
        ({"frames": []}, "at least one frame"),
        ({"styles": {"car": {"shape": "star", "size": 1}}}, "styles.car.shape must be one of"),
        (
            {"styles": {"car": {"shape": "disc", "size": 1, "fill": "red"}}},
            "styles.car.fill must be a colour",
        ),
        ({"styles": {"car": {"shape": "disc", "size": 1, "ramp": ["#000000"]}}}, "styles.car.ramp"),
        ({"styles": {"car": {"shape": "disc", "size": 1, "glow": 1}}}, "styles.car must be an object of"),
        ({"styles": {"car": {"shape": "disc", "size": 1, "steady": 1}}}, "styles.car.steady must be true"),
        ({"background": [{"kind": "rect", "at": [[1, 2, 3]]}]}, "background[0].at must be"),
        ({"background": [{"kind": "blob", "at": []}]}, "background[0].kind must be one of"),
        ({"legend": [{"style": "bus", "label": "bus"}]}, "legend[0] must be"),
        ({"frames": frame(movers=[[1, 2, 3, "bus"]])}, "frames[0].movers[0] must be"),
        ({"frames": frame(movers=[["a", 2, 3, "car"]])}, "frames[0].movers[0] must be"),
        ({"frames": frame(movers=[[1, float("nan"), 3, "car"]])}, "frames[0].movers[0] must be"),
        ({"frames": frame(marks=[[1, 2, "light", 1.5]])}, "frames[0].marks[0] must be"),
        ({"frames": frame(marks=[[1, 2, "light"]])}, "frames[0].marks[0] must be"),
        ({"frames": frame(text=None)}, "frames[0].text must be a text"),
        ({"frames": [3]}, "frames[0] must be an object"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate_scene(crossing(**changes), "scene.json")

    assert str(caught.value).startswith("scene.json: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("scene", [None, [], "scene", 3, {}])
def test_what_is_no_scene_at_all_is_refused(scene: Any) -> None:
    with pytest.raises(UsageError):
        validate_scene(scene)


def test_a_large_warehouse_fits_into_a_page() -> None:
    scene = validate_scene(random_walk_scene(n_side=10, steps=99))

    text, frames = pack_scene(scene)

    assert frames == 100
    assert len(text.encode()) < MAX_SCENE_BYTES


def test_what_does_not_fit_loses_its_last_frames() -> None:
    scene = random_walk_scene(n_side=2, steps=50)

    text, frames = pack_scene(scene, max_bytes=20_000)

    assert 0 < frames < 51
    assert len(text.encode()) <= 20_000
    assert len(json.loads(text)["frames"]) == frames


def test_a_frame_that_never_fits_gives_no_drawing() -> None:
    assert pack_scene(random_walk_scene(steps=3), max_bytes=500) == ("", 0)
