"""Good messages, and good messages gone wrong, for the schema tests."""

import zlib
from dataclasses import fields

import msgpack
import numpy as np

from dials_async.messaging.schema import Experience, ExperienceShape, Origin, RolloutTask

ORIGIN = Origin("warehouse-1", "8e0c1d7a90b34f56", "0a1b2c3d", "d4163efc17b83f87")
SHAPE = ExperienceShape(episodes=3, steps=5, observation_bytes=2, n_actions=4)
TASK = RolloutTask(ORIGIN, "ials", 0, 12, 1, 16, (12,), 2)
GS_TASK = RolloutTask(ORIGIN, "gs", -1, 12, 1, 4, (12, 11, -1), 0)


def make_experience(shape: ExperienceShape = SHAPE, seed: int = 0) -> Experience:
    rng = np.random.default_rng(seed)
    cells = (shape.episodes, shape.steps)
    terminated = rng.integers(0, 2, shape.episodes, dtype=np.uint8)
    return Experience(
        origin=ORIGIN,
        task_id=TASK.task_id,
        agent=7,
        update=12,
        index=1,
        policy_version=12,
        aip_version=2,
        worker="host/12",
        made_at=1_764_000_000.5,
        observations=rng.integers(
            0, 256, (shape.episodes, shape.steps + 1, shape.observation_bytes), dtype=np.uint8
        ),
        actions=rng.integers(0, shape.n_actions, cells, dtype=np.uint8),
        rewards=rng.normal(size=cells).astype(np.float32),
        log_probs=-rng.exponential(size=cells).astype(np.float32),
        terminated=terminated,
        truncated=1 - terminated,
    )


def same(a: Experience, b: Experience) -> bool:
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name))
        and type(getattr(a, field.name)) is type(getattr(b, field.name))
        for field in fields(Experience)
    )


def resealed(body: bytes, **changes: object) -> bytes:
    """The message with other fields and a checksum that fits: what a faulty producer would send."""
    values = msgpack.unpackb(body)
    del values["crc"]
    schema = changes.pop("schema", values.pop("schema"))
    packed: bytes = msgpack.packb({"schema": schema, **values, **changes, "crc": bytes(4)})[:-4]
    return packed + zlib.crc32(packed).to_bytes(4, "big")


def without(body: bytes, name: str) -> bytes:
    values = msgpack.unpackb(body)
    del values[name], values["crc"]
    packed: bytes = msgpack.packb({**values, "crc": bytes(4)})[:-4]
    return packed + zlib.crc32(packed).to_bytes(4, "big")
