"""What a drawing of the grid shows at one moment: the cars and the lights."""

from typing import NamedTuple


class Car(NamedTuple):
    """A car as SUMO tells it."""

    id: str
    x_m: float
    """Of the middle of the front bumper, in coordinates of the net: y points upwards."""
    y_m: float
    angle_deg: float
    """Clockwise from north."""
    speed_mps: float


class Snapshot(NamedTuple):
    """All cars and lights."""

    cars: list[Car]
    phases: list[int]
    """Of each light, row-major."""
