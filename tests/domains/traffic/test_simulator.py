"""The GS on SUMO: pure episodes, the same through both interfaces, and no harm from crashes."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dials_async.domains.traffic import processes
from dials_async.domains.traffic.domain import Traffic
from dials_async.domains.traffic.installation import SUMO_VERSION, find_sumo
from dials_async.domains.traffic.network import network_files
from dials_async.domains.traffic.processes import MAX_RESTARTS, POOL, Setup
from dials_async.domains.traffic.rules import CELL_M, JUNCTION_M, LANE_M, N_SOURCES, NS_GREEN, WEST
from dials_async.domains.traffic.simulator import TrafficGlobal
from dials_async.errors import SimulatorError
from dials_async.kernels.bits import unpack
from tests.processes import children_of, sumo_children

SEED = np.array([11], dtype=np.uint64)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = sumo_children(os.getpid())  # other tests may leave zombies of their own
    yield
    POOL.close()
    assert sumo_children(os.getpid()) <= before


def random_actions(n_agents: int, n_steps: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (n_steps, n_agents, 1)).astype(np.uint8)


def trajectory(simulator: TrafficGlobal, actions: np.ndarray, seed: np.ndarray = SEED) -> str:
    """Hash of all observations, rewards and influence of an episode."""
    digest = hashlib.sha256()
    simulator.reset(seed)
    digest.update(simulator.observe().tobytes())
    for action in actions:
        rewards, influence = simulator.step(action)
        digest.update(simulator.observe().tobytes() + rewards.tobytes() + influence.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("side", [2, 5])
def test_libsumo_and_traci_give_identical_episodes(side: int) -> None:
    # Given: the same seed, and the same random actions over a whole episode.
    actions = random_actions(side * side, 300)
    with Traffic(side).make_global(1) as fast, Traffic(side, interface="traci").make_global(1) as remote:
        # Then: every observation, reward and influence bit is the same.
        assert trajectory(fast, actions) == trajectory(remote, actions)


def test_an_episode_is_a_pure_function_of_its_seed_and_actions() -> None:
    domain, actions = Traffic(2), random_actions(4, 60)
    with domain.make_global(1) as simulator:
        first = trajectory(simulator, actions)
        other_seed = trajectory(simulator, actions, SEED + np.uint64(1))
        again = trajectory(simulator, actions)
        other_actions = trajectory(simulator, random_actions(4, 60, seed=4))
        far_seed = trajectory(simulator, actions, SEED + np.uint64(1000))
    assert first == again
    assert len({first, other_seed, far_seed, other_actions}) == 4


def test_episodes_side_by_side_are_those_of_one_at_a_time() -> None:
    domain, actions = Traffic(2), random_actions(4, 40)
    seeds = np.array([5, 6], dtype=np.uint64)
    with domain.make_global(2) as both, domain.make_global(1) as one:
        both.reset(seeds)
        seen = [both.step(np.repeat(action, 2, axis=1)) for action in actions]
        for env in range(2):
            one.reset(seeds[env : env + 1])
            for action, (rewards, influence) in zip(actions, seen, strict=True):
                alone = one.step(action)
                np.testing.assert_array_equal(alone.rewards[:, 0], rewards[:, env])
                np.testing.assert_array_equal(alone.influence[:, 0], influence[:, env])


def test_roads_are_empty_and_lights_green_for_north_and_south_at_every_reset() -> None:
    with Traffic(2).make_global(1) as simulator:
        trajectory(simulator, random_actions(4, 50))
        simulator.reset(SEED)
        bits = unpack(simulator.observe(), 40)
        assert bits.sum() == 4
        assert (bits[:, 0, 39] == 1).all()
        assert simulator.snapshot().phases == [NS_GREEN] * 4


def test_a_car_that_enters_is_seen_in_the_next_cells_and_paid_for_its_speed() -> None:
    with Traffic(1).make_global(1) as simulator:
        simulator.reset(SEED)
        entered, seen = np.zeros(N_SOURCES, dtype=int), False
        for _ in range(60):
            rewards, influence = simulator.step(np.zeros((1, 1), dtype=np.uint8))
            entered += influence[0, 0]
            occupied = unpack(simulator.observe(), 40)[0, 0, :36].any()
            seen |= bool(occupied)
            if occupied:
                assert 0.0 <= rewards[0, 0] <= 1.0
        # Six cars an approach are expected in a minute; none at all has a chance of 0.9 ** 60 = 0.2 %.
        assert seen
        assert (entered > 0).all()


@pytest.mark.parametrize("interface", ["libsumo", "traci"])
def test_a_process_that_is_killed_in_the_middle_of_an_episode_is_replaced(interface: str) -> None:
    domain, actions = Traffic(2, interface=interface), random_actions(4, 60)
    with domain.make_global(1) as simulator:
        undisturbed = trajectory(simulator, actions)
        digest = hashlib.sha256()
        simulator.reset(SEED)
        digest.update(simulator.observe().tobytes())
        killed = []
        for t, action in enumerate(actions):
            if t in (0, 25):
                killed.append(simulator.process_ids()[0])
                os.kill(killed[-1], signal.SIGKILL)
            rewards, influence = simulator.step(action)
            digest.update(simulator.observe().tobytes() + rewards.tobytes() + influence.tobytes())
        assert digest.hexdigest() == undisturbed
        assert simulator.process_ids()[0] not in killed


def test_a_sumo_that_is_killed_behind_its_socket_is_replaced_and_leaves_no_zombie() -> None:
    domain, actions = Traffic(2, interface="traci"), random_actions(4, 40)
    with domain.make_global(1) as simulator:
        undisturbed = trajectory(simulator, actions)
        digest = hashlib.sha256()
        simulator.reset(SEED)
        digest.update(simulator.observe().tobytes())
        for t, action in enumerate(actions):
            if t == 20:
                sumo = sumo_of(simulator.process_ids()[0])
                os.kill(sumo, signal.SIGKILL)
            rewards, influence = simulator.step(action)
            digest.update(simulator.observe().tobytes() + rewards.tobytes() + influence.tobytes())
        assert digest.hexdigest() == undisturbed
        assert not is_there(sumo)
        last = sumo_of(simulator.process_ids()[0])
        port = port_of(last)
    POOL.close()
    # Then: neither a process nor an open port is left.
    assert not is_there(last)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def sumo_of(process: int) -> int:
    (sumo,) = children_of(process)
    return sumo


def port_of(process: int) -> int:
    with open(f"/proc/{process}/cmdline", "rb") as file:
        arguments = file.read().decode().split("\0")
    return int(arguments[arguments.index("--remote-port") + 1])


def is_there(process: int) -> bool:
    """Whether the process runs, or is a zombie of ours; one of others' is theirs to wait for."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        if fields[0] == "Z" and int(fields[1]) != os.getpid():
            return False
        time.sleep(0.05)
    return True


def test_a_sumo_that_crashes_again_and_again_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Traffic(2).make_global(1) as simulator:
        simulator.reset(SEED)
        # Given: what starts from now on ends at once.
        monkeypatch.setattr("sys.executable", "/bin/false")
        os.kill(simulator.process_ids()[0], signal.SIGKILL)
        with pytest.raises(SimulatorError, match=rf"SUMO ended {MAX_RESTARTS + 1} times in one episode"):
            simulator.step(np.zeros((4, 1), dtype=np.uint8))


HOLDER = """
import numpy as np
from dials_async.domains.traffic.domain import Traffic
simulator = Traffic(2, interface="traci").make_global(1)
simulator.reset(np.array([1], dtype=np.uint64))
print(simulator.process_ids()[0], flush=True)
while True:
    simulator.step(np.zeros((4, 1), dtype=np.uint8))
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_simulators_end_with_the_process_that_uses_them_even_if_it_is_killed(hangs: bool) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    sumo = sumo_of(child)
    if hangs:
        os.kill(sumo, signal.SIGSTOP)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not is_there(child)
    assert not is_there(sumo)


def test_restarts_are_counted_by_episode() -> None:
    # Given: more kills than one episode may have, but in two episodes.
    with Traffic(2).make_global(1) as simulator:
        for _ in range(2):
            simulator.reset(SEED)
            for _ in range(MAX_RESTARTS - 1):
                os.kill(simulator.process_ids()[0], signal.SIGKILL)
                simulator.step(np.zeros((4, 1), dtype=np.uint8))


def test_a_process_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with Traffic(2).make_global(1) as simulator:
        simulator.reset(SEED)
        stuck = simulator.process_ids()[0]
        monkeypatch.setattr(processes, "REPLY_TIMEOUT_S", 5.0)
        os.kill(stuck, signal.SIGSTOP)
        simulator.step(np.zeros((4, 1), dtype=np.uint8))
        assert simulator.process_ids()[0] != stuck
    assert not is_there(stuck)


def test_a_process_in_the_middle_of_a_request_is_not_used_again() -> None:
    setup = Setup("grid", SUMO_VERSION, side=2)
    process = POOL.take(setup)
    process.begin({"op": "reset", "seed": 1})
    interrupted = process.pid
    process.send({"op": "step", "actions": bytes(4)})
    POOL.give_back(process, setup)
    other = POOL.take(setup)
    assert other.pid != interrupted
    POOL.give_back(other, setup)


def test_a_sumo_at_an_address_is_waited_for() -> None:
    # Given: one who uses the SUMO there (it is asked for at the first reset: none needs to run).
    setup = Setup("grid", SUMO_VERSION, side=2, interface="traci", address="127.0.0.1:1")
    first = POOL.take(setup)
    taken = threading.Event()

    def take_too() -> None:
        second = POOL.take(setup)
        taken.set()
        POOL.give_back(second, setup)

    waiting = threading.Thread(target=take_too)
    waiting.start()
    assert not taken.wait(0.5)
    POOL.give_back(first, setup)
    assert taken.wait(20.0)
    waiting.join()


def test_parity_takes_the_occupancy_of_the_last_cell_as_influence() -> None:
    # Given: two lights in a row, so that cars enter the second road anywhere in its last cell.
    domain, parity, actions = Traffic(2), Traffic(2, parity_influence=True), random_actions(4, 200)
    start_m = LANE_M + JUNCTION_M  # of the road from the north-west light to the east
    with domain.make_global(1) as entering, parity.make_global(1) as occupied:
        entering.reset(SEED)
        occupied.reset(SEED)
        longer = 0
        for action in actions:
            entered, there = entering.step(action).influence[:, 0], occupied.step(action).influence[:, 0]
            cars = [car for car in occupied.snapshot().cars if round(car.angle_deg) == 90]
            in_last_cell = [car for car in cars if 0.0 <= car.x_m - start_m <= CELL_M and car.y_m > start_m]
            # Then: agent 1 is told of them, for as long as they are there.
            assert bool(there[1, WEST]) == bool(in_last_cell)
            assert (there >= entered).all()
            longer += int((there > entered).sum())
    assert longer > 0


def test_a_simulator_that_is_given_back_serves_the_next_one() -> None:
    domain = Traffic(2)
    with domain.make_global(1) as simulator:
        simulator.reset(SEED)
        first = simulator.process_ids()
    with domain.make_global(1) as simulator:
        assert simulator.process_ids() == first


def test_traci_reaches_a_sumo_that_runs_already(unused_port: int) -> None:
    # Given: a SUMO that somebody started elsewhere.
    sumo = find_sumo()
    command = [str(sumo.binary("sumo")), "--remote-port", str(unused_port), "--net-file", str(network_file())]
    program = subprocess.Popen(
        command,
        env=sumo.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        actions = random_actions(4, 30)
        with Traffic(2).make_global(1) as own:
            expected = trajectory(own, actions)
        domain = Traffic(2, interface="traci", address=f"127.0.0.1:{unused_port}")
        with domain.make_global(1) as remote:
            assert trajectory(remote, actions) == expected
    finally:
        POOL.close()
        program.kill()
        program.wait()


def network_file() -> Path:
    return network_files(2, find_sumo()).network
