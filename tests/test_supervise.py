"""The restart wrapper, with real processes: small shell and Python children, and honcho itself.

No test depends on a process being fast: what must happen is waited for, what must not is given a short time.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from dials_async.errors import UsageError
from dials_async.supervise import Limits, supervise

#: Never reached by a test that passes. Children sleep for longer: that they ended by themselves is no proof.
LONG_S = 300.0

WRAPPER = """
import json, signal, sys
from dials_async.supervise import Limits, supervise
given = json.loads(sys.argv[1])
given["limits"] = Limits(**given["limits"])
if "orphan_signal" in given:
    given["orphan_signal"] = signal.Signals(given["orphan_signal"])
sys.exit(supervise(name="worker", **given))
"""

#: Ends when its standard input does, with the wrapper as its child.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:])
print(child.pid, flush=True)
time.sleep(1000)
"""

#: Says when it is ready, and takes SIGTERM for an answer.
#: (Its stderr is closed, since the shell remarks there that `sleep` was terminated, too.)
POLITE = 'exec 2>/dev/null; trap "echo term; exit 3" TERM; echo ready; while :; do sleep 0.02; done'
STUBBORN = 'trap "" TERM; echo ready; while :; do sleep 0.02; done'

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent ended")

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(autouse=True)
def _hang_ups_count() -> Iterator[None]:
    """Whoever tests under nohup ignores SIGHUP, and every child of theirs would."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def command(argv: list[str] | str, **options: Any) -> list[str]:
    """The command line of a wrapper of ``argv`` (a string: a shell script), fast unless told otherwise."""
    limits = {"max_crashes": 3, "first_delay_s": 0.01, "stop_s": LONG_S, "max_deaths": 1000}
    limits |= options.pop("limits", {})
    argv = ["sh", "-c", argv] if isinstance(argv, str) else argv
    return [sys.executable, "-c", WRAPPER, json.dumps({"argv": argv, "limits": limits, **options})]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a wrapper; at the end of the test it is killed if it still runs (and its child with it)."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(argv: list[str] | str, /, **options: Any) -> "subprocess.Popen[bytes]":
        outer = {name: options.pop(name) for name in ("stdout", "stderr", "env") if name in options}
        under = options.pop("under", [])
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | outer
        process: subprocess.Popen[bytes] = subprocess.Popen([*under, *command(argv, **options)], **pipes)
        started.append(process)
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        for file in (process.stdout, process.stderr):
            if file:
                file.close()


def finished(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, list[str]]:
    """Exit code, standard output, and the lines of standard error."""
    out, err = process.communicate(timeout=LONG_S)
    return process.returncode, out, err.decode("utf-8", "replace").splitlines()


def line_of(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout
    return process.stdout.readline().decode().strip()


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent to look does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def gone(*pids: int) -> bool:
    return not any(alive(pid) for pid in pids)


def unread(pipe: IO[bytes] | None) -> int:
    """Bytes that wait in it."""
    assert pipe
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def written(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


# --- output


def test_output_is_passed_on_unchanged_and_in_order(start: Start) -> None:
    code = (
        "import os, sys\n"
        "for n in range(2000):\n"
        "    os.write(1, b'%d \\xff\\xfe\\r\\n' % n); os.write(2, b'e%d\\n' % n)\n"
        "os.write(1, b'\\n\\n\\0 \\xe2\\x82')"
    )
    process = start([sys.executable, "-c", code], ends_with_child=True)
    returncode, out, err = finished(process)
    assert returncode == 0
    # The line that was not ended is, so that the next life does not continue it.
    assert out == b"".join(b"%d \xff\xfe\r\n" % n for n in range(2000)) + b"\n\n\0 \xe2\x82\n"
    assert err == [f"e{n}" for n in range(2000)]


def test_long_lines_pass_in_pieces(start: Start) -> None:
    code = "import os; os.write(1, b'a' * 3_000_000 + b'\\nb\\n' + b'c' * 300_000)"
    _, out, _ = finished(start([sys.executable, "-c", code], ends_with_child=True))
    assert out == b"a" * 3_000_000 + b"\nb\n" + b"c" * 300_000 + b"\n"


def test_lines_come_at_once_and_whole(start: Start) -> None:
    process = start(
        "echo one; printf half; sleep 0.2; echo two >&2; sleep 0.2; echo ' line'; exec sleep 1000"
    )
    assert line_of(process) == "one"
    assert process.stderr
    assert process.stderr.readline() == b"two\n"
    assert line_of(process) == "half line"


def test_both_streams_in_one_pipe_do_not_mix_within_lines(start: Start) -> None:
    code = (
        "import os\n"
        "for n in range(3000):\n"
        "    os.write(1, b'out'); os.write(2, b'error'); os.write(1, b' put\\n'); os.write(2, b' text\\n')\n"
    )
    process = start([sys.executable, "-c", code], ends_with_child=True, stderr=subprocess.STDOUT)
    out, _ = process.communicate(timeout=LONG_S)
    lines = out.splitlines()
    assert lines.count(b"out put") == lines.count(b"error text") == 3000
    assert len(lines) == 6000


def test_nobody_reading_stops_neither_the_wrapper_nor_lets_it_grow(start: Start) -> None:
    process = start("yes & yes >&2")
    eventually(lambda: min(unread(process.stdout), unread(process.stderr)) > 10_000)
    time.sleep(0.5)  # both pipes are full soon, and it would grow
    if sys.platform == "linux":
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert int(status.partition("VmRSS:")[2].split()[0]) < 100_000  # KB
    process.terminate()
    assert process.wait(LONG_S) == 0


def test_the_child_does_not_notice_that_the_output_is_closed(start: Start, tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = f"import os\nfor _ in range(20_000): os.write(1, b'line\\n')\nopen({str(done)!r}, 'w')"
    process = start([sys.executable, "-c", code])
    assert process.stdout
    process.stdout.close()
    eventually(done.exists)
    assert process.poll() is None
    process.stdout = None
    process.terminate()
    assert process.wait(LONG_S) == 0


def test_a_daemon_that_keeps_the_pipes_open_holds_nothing_up(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    daemon = (
        f"import os, time; os.setsid(); open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    )
    script = f'{sys.executable} -c "{daemon}" & while [ ! -s {pids} ]; do sleep 0.02; done; echo done'
    returncode, out, _ = finished(start(script, ends_with_child=True))
    os.kill(written(pids)[0], signal.SIGKILL)  # it was alive: it left the group
    assert (returncode, out) == (0, b"done\n")


# --- ends of the child


def test_a_child_that_is_done_ends_the_line_that_leads(start: Start) -> None:
    assert finished(start("echo done", ends_with_child=True)) == (0, b"done\n", [])


def test_another_child_that_is_done_is_neither_restarted_nor_the_end(start: Start) -> None:
    process = start("echo done")
    assert line_of(process) == "done"
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert finished(process) == (0, b"", [])


def test_a_wrong_configuration_is_not_tried_again(start: Start) -> None:
    process = start("echo x; echo 'Error: no preset pond' >&2; echo >&2; exit 2")
    assert finished(process) == (
        2,
        b"x\n",
        ["Error: no preset pond", "", "worker: cannot work: Error: no preset pond"],
    )
    assert finished(start("exit 2"))[2] == ["worker: cannot work: exit code 2"]


def test_who_is_spared_waits_where_others_would_end_the_run(start: Start) -> None:
    process = start("echo 'Error: other numerics' >&2; exit 2", is_spared=True)
    assert process.stderr is not None
    assert process.stderr.readline() == b"Error: other numerics\n"
    assert process.stderr.readline() == b"worker: cannot work: Error: other numerics\n"
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    assert process.wait(LONG_S) == 0


def test_a_missing_program_is_not_tried_again(start: Start) -> None:
    returncode, _, err = finished(start(["/no/such/program"]))
    assert returncode == 2
    assert len(err) == 1
    assert err[0].startswith("worker: cannot work: cannot be started: ")
    assert "/no/such/program" in err[0]


def test_no_command_is_an_error() -> None:
    with pytest.raises(UsageError, match="worker: there is no command"):
        supervise([], "worker")


def test_a_child_that_dies_is_started_again(start: Start, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo 1 >> {count}; echo hello; [ $(wc -l < {count}) = 3 ] || {{ echo oh no >&2; exit 7; }}"
    assert finished(start(script, ends_with_child=True)) == (
        0,
        b"hello\n" * 3,
        [
            "oh no",
            "worker: died (exit code 7: oh no); starting it again in 0.01 s",
            "oh no",
            "worker: died (exit code 7: oh no); starting it again in 0.02 s",
        ],
    )


def test_the_wrapper_gives_up_and_names_the_first_cause(start: Start, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo 1 >> {count}; printf 'cause '$(wc -l < {count}) >&2; exit 1"
    before = time.monotonic()
    process = start(
        script, limits={"max_crashes": 5, "first_delay_s": 0.1, "longest_delay_s": 0.25, "steady_s": LONG_S}
    )
    returncode, _, err = finished(process)
    assert returncode == 1
    assert err == [
        "cause 1",
        "worker: died (exit code 1: cause 1); starting it again in 0.1 s",
        "cause 2",
        "worker: died (exit code 1: cause 2); starting it again in 0.2 s",
        "cause 3",
        "worker: died (exit code 1: cause 3); starting it again in 0.25 s",
        "cause 4",
        "worker: died (exit code 1: cause 4); starting it again in 0.25 s",
        "cause 5",
        "worker: died 5 times in a row, giving up; first: exit code 1: cause 1",
    ]
    assert time.monotonic() - before >= 0.8


def test_a_signal_is_a_cause_and_the_causes_of_other_lives_are_forgotten(start: Start) -> None:
    returncode, _, err = finished(start("echo info >&2; kill -9 $$", limits={"max_crashes": 1}))
    assert (returncode, err[-1]) == (1, "worker: died 1 times in a row, giving up; first: killed by SIGKILL")


def test_a_steady_life_begins_the_count_anew(start: Start, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo 1 >> {count}; [ $(wc -l < {count}) = 5 ] && exit 2; sleep 0.15; exit 1"
    returncode, _, err = finished(start(script, limits={"max_crashes": 1, "steady_s": 0.1}))
    assert returncode == 2
    assert err[:-1] == ["worker: died (exit code 1); starting it again in 0.01 s"] * 4


def test_a_slow_loop_of_crashes_ends_with_its_first_cause(start: Start, tmp_path: Path) -> None:
    """Steady lives begin the count of quick deaths anew, and would be started for ever."""
    count = tmp_path / "count"
    script = f"echo 1 >> {count}; sleep 0.15; echo cause $(wc -l < {count}) >&2; exit 1"
    limits = {"max_crashes": 1, "steady_s": 0.1, "max_deaths": 4, "window_s": LONG_S}
    returncode, _, err = finished(start(script, limits=limits))
    assert returncode == 1
    assert err[-1].startswith("worker: died 4 times within ")
    assert err[-1].endswith(" s, giving up; first: exit code 1: cause 1")


def test_deaths_long_ago_and_kills_from_outside_are_not_held_against_a_child(
    start: Start, tmp_path: Path
) -> None:
    for death, window_s in (("exit 1", 0.1), ("kill -9 $$", LONG_S)):
        count = tmp_path / f"count{window_s}"
        script = f"echo 1 >> {count}; [ $(wc -l < {count}) = 6 ] && exit 2; sleep 0.15; {death}"
        limits = {"max_crashes": 1, "steady_s": 0.1, "max_deaths": 3, "window_s": window_s}
        returncode, _, err = finished(start(script, limits=limits))
        assert returncode == 2, err


def test_what_a_dead_child_leaves_behind_ends_too(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $! >> {pids}; (trap '' TERM; exec sleep 1000) & echo $! >> {pids}; exit 1"
    returncode, _, err = finished(start(script, limits={"stop_s": 0.2, "max_crashes": 2}))
    assert returncode == 1
    assert len(err) == 2
    assert len(written(pids)) == 4
    eventually(lambda: gone(*written(pids)))


@linux
def test_restarts_leave_no_file_thread_or_zombie(start: Start) -> None:
    script = (
        "echo $(ls /proc/$PPID/fd | wc -l) $(ls /proc/$PPID/task | wc -l)"
        " $(cat /proc/$PPID/task/$PPID/children | wc -w); exit 1"
    )
    process = start(script, limits={"max_crashes": 40, "first_delay_s": 0, "steady_s": LONG_S})
    returncode, out, _ = finished(process)
    lives = [tuple(map(int, line.split())) for line in out.splitlines()]
    assert returncode == 1
    assert len(lives) == 40
    files, *others = zip(*lives, strict=True)
    # Pipes of the lives before may be open still on a busy machine, until who held them has ended: what
    # leaks would be there at every later look.
    assert min(files[-10:]) - min(files[:10]) <= 2
    assert set(zip(*others, strict=True)) == {(1, 1)}


@linux
def test_what_the_child_orphans_leaves_no_zombie_while_it_lives(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # Each in a session of its own, as a server starts its helpers: signals to the group do not reach it.
    orphan = (
        f"import os; os.setsid(); os.fork() and os._exit(0); print(os.getpid(), file=open('{pids}', 'a'))"
    )
    once = f'{sys.executable} -S -c "{orphan}"'
    os.mkfifo(tmp_path / "end")
    process = start(f"for i in 1 2 3 4 5; do {once}; done; echo ready; read end < {tmp_path}/end; exit 7")
    assert line_of(process) == "ready"
    eventually(lambda: len(written(pids)) == 5)
    # /proc knows a zombie by its number too
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in written(pids)))
    assert process.poll() is None
    # And the exit code of the child itself was left to those who ask for it
    (tmp_path / "end").write_text("now\n")
    assert process.stderr
    assert process.stderr.readline() == b"worker: died (exit code 7); starting it again in 0.01 s\n"


def test_the_environment_is_that_of_the_child(start: Start) -> None:
    path = os.environ["PATH"]
    process = start("echo $COLOUR $HOME", environment={"PATH": path, "COLOUR": "red"}, ends_with_child=True)
    assert finished(process)[1] == b"red\n"
    process = start("echo $COLOUR", env={**os.environ, "COLOUR": "blue"}, ends_with_child=True)
    assert finished(process)[1] == b"blue\n"


# --- being told to stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_stops_the_child_gently(start: Start, number: signal.Signals) -> None:
    process = start(POLITE)
    assert line_of(process) == "ready"
    process.send_signal(number)
    assert finished(process) == (0, b"term\n", [])


@linux
def test_a_child_that_does_not_stop_is_killed_with_its_group(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = start(f"echo $$ >> {pids}; {STUBBORN} & echo $! >> {pids}; {STUBBORN}", limits={"stop_s": 0.2})
    assert [line_of(process), line_of(process)] == ["ready", "ready"]
    process.terminate()
    assert finished(process) == (0, b"", ["worker: did not stop within 0.2 s: killing it"])
    eventually(lambda: gone(*written(pids)))


def test_a_server_leaves_after_its_clients(start: Start) -> None:
    process = start(POLITE, stop_delay_s=0.5)
    assert line_of(process) == "ready"
    before = time.monotonic()
    process.terminate()
    assert finished(process) == (0, b"term\n", [])
    assert time.monotonic() - before >= 0.5


def test_a_second_signal_cuts_the_delay_short(start: Start) -> None:
    process = start(POLITE, stop_delay_s=1000)
    assert line_of(process) == "ready"
    process.terminate()
    time.sleep(0.4)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finished(process) == (0, b"term\n", [])


def test_a_child_that_dies_during_the_delay_is_not_started_again(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = start(f"echo $$ >> {pids}; echo ready; exec sleep 1000", stop_delay_s=1000)
    assert line_of(process) == "ready"
    process.terminate()
    time.sleep(0.2)
    os.kill(written(pids)[0], signal.SIGKILL)
    assert finished(process) == (0, b"", [])
    assert len(written(pids)) == 1


def test_a_signal_during_the_back_off_ends_it(start: Start) -> None:
    process = start("exit 1", limits={"first_delay_s": 1000, "longest_delay_s": 1000}, stop_delay_s=1000)
    assert process.stderr
    assert process.stderr.readline().startswith(b"worker: died (exit code 1); starting it again in 1000 s")
    process.terminate()
    assert process.wait(LONG_S) == 0


def test_no_moment_is_wrong_for_a_signal(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # One after another, a bit later each time: before, in and after the start of the first child, ...
    for number in range(12):
        process = start(f"echo $$ >> {pids}; exec sleep 1000")
        time.sleep(0.015 * number)
        process.terminate()
        assert process.wait(LONG_S) in (0, -signal.SIGTERM)  # the latter before we could catch it
    # ... and while it is started again and again.
    limits = {"max_crashes": 10**9, "first_delay_s": 0, "longest_delay_s": 0}
    for number in range(12):
        process = start(f"echo $$ >> {pids}; echo ready; exit 1", limits=limits, stderr=subprocess.DEVNULL)
        assert line_of(process) == "ready"
        time.sleep(0.0037 * number)
        process.terminate()
        assert process.wait(LONG_S) == 0
    assert written(pids)
    eventually(lambda: gone(*written(pids)))


def test_nohup_is_respected(start: Start) -> None:
    process = start(POLITE, under=["sh", "-c", 'trap "" HUP; exec "$@"', "sh"])
    assert line_of(process) == "ready"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None


# --- without a wrapper, without a parent


@linux
def test_killing_the_wrapper_ends_the_child(start: Start, tmp_path: Path) -> None:
    for name, script, options in (
        ("polite", "exec sleep 1000", {}),
        ("stubborn", 'trap "" TERM; exec sleep 1000', {"orphan_signal": int(signal.SIGKILL)}),
    ):
        pids = tmp_path / name
        process = start(f"echo $$ > {pids}; echo ready; {script}", **options)
        assert line_of(process) == "ready"
        process.kill()
        eventually(partial(lambda pids: gone(*written(pids)), pids))


def test_killing_the_parent_ends_the_wrapper_and_the_child(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = start(f"echo $$ > {pids}; {POLITE}", under=[sys.executable, "-c", PARENT])
    wrapper = int(line_of(process))
    assert line_of(process) == "ready"
    process.kill()
    assert line_of(process) == "term"
    eventually(lambda: gone(wrapper, *written(pids)))


def test_the_end_of_the_parent_is_no_second_signal(start: Start) -> None:
    process = start(POLITE, stop_delay_s=0.8, under=[sys.executable, "-c", PARENT])
    wrapper = int(line_of(process))
    assert line_of(process) == "ready"
    before = time.monotonic()
    os.kill(wrapper, signal.SIGTERM)
    process.kill()
    assert line_of(process) == "term"
    assert time.monotonic() - before >= 0.8
    eventually(lambda: gone(wrapper))


def test_the_wrapper_is_light() -> None:
    code = (
        "import sys, dials_async.supervise; print(sorted({'numpy', 'torch', 'asyncio'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


# --- below honcho


@pytest.fixture
def honcho(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start honcho with a Procfile of wrapped shell scripts, which write their pids to tmp_path/NAME."""
    started: list[subprocess.Popen[bytes]] = []

    def start_all(**lines: tuple[str, dict[str, Any]]) -> "subprocess.Popen[bytes]":
        (tmp_path / "wrapper.py").write_text(WRAPPER.replace("sys.argv[1]", "open(sys.argv[1]).read()"))
        procfile = ""
        for name, (script, options) in lines.items():
            given = command(f"echo $$ >> {tmp_path / name}; {script}", **options)[-1]
            (tmp_path / f"{name}.json").write_text(given)
            procfile += f"{name}: {sys.executable} wrapper.py {name}.json\n"
        (tmp_path / "Procfile").write_text(procfile)
        honcho = [str(Path(sys.executable).with_name("honcho")), "start"]
        started.append(
            subprocess.Popen(honcho, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
        return started[-1]

    yield start_all
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return [pid]
    return [pid] + [one for child in children for one in family(int(child))]


def output(process: "subprocess.Popen[bytes]") -> str:
    return process.communicate(timeout=LONG_S)[0].decode()


@linux
def test_honcho_ends_with_the_line_that_leads(
    honcho: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    leads = f"while [ ! -e {tmp_path}/enough ]; do sleep 0.02; done; echo all done"
    process = honcho(
        server=(POLITE, {"stop_delay_s": 0.3}),
        done=("echo quiet", {}),
        leads=(leads, {"ends_with_child": True}),
    )
    eventually(lambda: all(written(tmp_path / name) for name in ("server", "done", "leads")))
    everybody = family(process.pid)
    (tmp_path / "enough").touch()
    text = output(process)
    assert process.returncode == 0
    for word in ("ready", "quiet", "all done", "term"):
        assert text.count(f"| {word}\n") == 1
    assert "SIGKILL" not in text
    assert len(everybody) >= 1 + 3 * 2 + 2  # honcho, two for each line, and the children
    eventually(lambda: gone(*everybody))


@linux
def test_honcho_ends_with_the_first_cause_of_a_line_that_keeps_crashing(
    honcho: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    process = honcho(server=(POLITE, {}), worker=("echo no room left >&2; exit 3", {}))
    text = output(process)
    assert process.returncode == 1
    assert "| worker: died 3 times in a row, giving up; first: exit code 3: no room left\n" in text
    eventually(lambda: gone(*written(tmp_path / "server")))


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ending_honcho_ends_all(
    honcho: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path, number: signal.Signals
) -> None:
    process = honcho(server=(POLITE, {"stop_delay_s": 0.3}), worker=(POLITE, {}))
    eventually(lambda: all(written(tmp_path / name) for name in ("server", "worker")))
    everybody = family(process.pid)
    assert len(everybody) >= 7
    process.send_signal(number)
    eventually(lambda: gone(*everybody, *written(tmp_path / "server"), *written(tmp_path / "worker")))


def test_limits_are_those_of_the_documentation() -> None:
    assert Limits() == Limits(5, 10.0, 0.5, 10.0, 4.0, 5, 300.0)
