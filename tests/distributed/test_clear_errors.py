"""What is wrong with servers, addresses, names or stores: one clear line, and no password in it."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from dials_async.cli import main
from dials_async.distributed.create import create
from dials_async.logs import message_of
from dials_async.metrics.targets import register
from dials_async.servers.private import PrivateServer, lasting_port
from dials_async.store.redis.keys import SCHEMA
from tests.runtime.small import SMALL, as_options, small_config

from .fleet import fleet, observer

SECRET = "s3cret-0f-mine"

Dials = Callable[..., Result]


@pytest.fixture
def dials() -> Dials:
    """Run a command in this process."""
    return lambda *words: CliRunner().invoke(main, words)


def only_line(result: Result, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    (line,) = map(message_of, result.stderr.splitlines())  # of a daemon it has the time
    assert line.startswith("dials: ")
    assert SECRET not in result.output
    return line


def changed(server: PrivateServer, **parts: str) -> str:
    """The server's URL with another user, password, host, port or path."""
    url = urlsplit(server.url)
    place = f"{parts.get('host', url.hostname)}:{parts.get('port', url.port)}"
    user, password = parts.get("user", url.username or ""), parts.get("password", url.password or "")
    return f"{parts.get('scheme', url.scheme)}://{user}:{password}@{place}{parts.get('path', url.path)}"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"password": SECRET}, "refuses the user or the password"),
        ({"user": "nobody", "password": SECRET}, "refuses the user or the password"),
        ({"path": "/nowhere"}, "has no vhost 'nowhere', or 'guest' may not use it"),
        ({"port": "1", "password": SECRET}, "connection refused; is it running?"),
        ({"host": "no.such.host.invalid", "password": SECRET}, "the name of the host is not known"),
    ],
)
def test_a_wrong_broker(
    parts: dict[str, str],
    message: str,
    dials: Dials,
    run: str,
    rabbitmq_server: PrivateServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create(run, small_config())
    monkeypatch.setenv("DIALS_AMQP_URL", changed(rabbitmq_server, **parts))
    gone = "refused; is it" in message or "not known" in message
    assert message in only_line(dials("status", run), 1)
    # A supervisor starts again what ends with 1, and gives up at once on what ends with 2
    for words in (("worker", "rollout", "--run", run), ("init", "warehouse-4", "--run", "x")):
        assert message in only_line(dials(*words), 1 if gone else 2)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"password": SECRET}, "refuses the login"),
        ({"port": "1", "password": SECRET}, "connection refused; is it running?"),
        ({"path": "/999999"}, "has no database of this number"),
    ],
)
def test_a_wrong_store(
    parts: dict[str, str],
    message: str,
    dials: Dials,
    run: str,
    redis_server: PrivateServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DIALS_REDIS_URL", changed(redis_server, **parts))
    for words in (("status",), ("status", run), ("forget", run)):
        assert message in only_line(dials(*words), 1)
    gone = "connection refused" in message
    assert message in only_line(dials("worker", "learner", "--run", run), 1 if gone else 2)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DIALS_AMQP_URL", f"http://me:{SECRET}@host"),
        ("DIALS_AMQP_URL", f"amqp://me:{SECRET}@host:notaport/"),
        ("DIALS_REDIS_URL", f"me:{SECRET}@host:6379"),
        ("DIALS_REDIS_URL", f"redis://:{SECRET}@:6379"),
    ],
)
def test_an_address_that_is_no_url(
    variable: str, value: str, dials: Dials, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, small_config())
    monkeypatch.setenv(variable, value)
    assert f"{variable} is not a URL of the form" in only_line(dials("status", run), 2)


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_port(
    dials: Dials, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, small_config())
    for name in ("AMQP", "REDIS", "PROMETHEUS"):
        monkeypatch.setenv(f"DIALS_{name}_PORT", "tcp://10.0.0.1:6379")
    assert dials("status", run).exit_code == 0


def test_a_port_is_read_only_where_it_is_used(
    dials: Dials, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(run, small_config())
    for name in ("AMQP", "REDIS"):  # the URLs are set
        monkeypatch.setenv(f"DIALS_PORT_{name}", "seventeen")
    assert dials("status", run).exit_code == 0
    monkeypatch.delenv("DIALS_REDIS_URL")
    assert "DIALS_PORT_REDIS = seventeen: expected a port" in only_line(dials("status", run), 2)


def test_the_name_that_a_port_had_before_is_refused(dials: Dials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIALS_REDIS_URL", raising=False)
    monkeypatch.setenv("DIALS_REDIS_PORT", "17379")
    assert "DIALS_REDIS_PORT = 17379: is called DIALS_PORT_REDIS now" in only_line(dials("status"), 2)


def test_an_option_of_the_url_that_redis_does_not_know(
    dials: Dials, redis_server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (f"{redis_server.url}?patience={SECRET}", f"rediss://127.0.0.1/0?ssl_cert_reqs={SECRET}"):
        monkeypatch.setenv("DIALS_REDIS_URL", url)
        assert "not a URL of a Redis" in only_line(dials("status"), 1)
    monkeypatch.setenv("DIALS_REDIS_URL", f"{redis_server.url}?max_connections=1")
    assert dials("status").exit_code == 0


def test_a_password_in_the_place_of_the_user_is_not_shown(
    dials: Dials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALS_REDIS_URL", f"redis://{SECRET}@127.0.0.1:{lasting_port()}/0")
    assert "connection refused" in only_line(dials("status"), 1)


@pytest.mark.parametrize(
    "words", [("status",), ("forget",), ("worker", "rollout", "--run"), ("worker", "keeper", "--run")]
)
def test_a_run_that_does_not_exist_is_named_with_the_nearest(
    words: tuple[str, ...], dials: Dials, run: str
) -> None:
    create(run, small_config())
    line = only_line(dials(*words, f"{run}x"), 2)
    assert f"no run '{run}x' in Redis" in line
    assert run in line.partition("there are")[2]


def test_a_store_of_an_older_schema_is_refused_with_both_numbers(dials: Dials, run: str) -> None:
    create(run, small_config())
    with observer(run) as seen:
        seen.registry._link.call(lambda client: client.hset(f"dials:{{{run}}}:info", "schema", 0))
    for words, code in ((("status", run), 1), (("worker", "learner", "--run", run), 2)):
        assert f"has schema 0, this version of dials-async has {SCHEMA}" in only_line(dials(*words), code)


def test_init_says_what_exists_and_how_to_go_on(dials: Dials, run: str, surroundings: Path) -> None:
    def init(*words: str) -> Result:
        return dials("init", "warehouse-4", "--run", run, *as_options(SMALL), *words)

    made = init()
    assert made.exit_code == 0
    assert f"dials worker rollout --run {run}" in made.stdout
    line = only_line(init(), 2)
    assert (
        f"a run '{run}' exists in Redis: choose another --run, go on with it (--resume), or remove it" in line
    )
    again = init("--or-resume")
    assert again.exit_code == 0
    assert "its processes go on where they were" in again.stderr
    line = only_line(init("--or-resume", "--seed", "7"), 2)
    assert f"the run '{run}' exists with other settings" in line
    # And a finished one says how it is extended, and is
    with fleet(run) as members:
        members.start_all()
        members.wait()
    line = only_line(dials("init", "--run", run, "--resume"), 2)
    assert "is finished (6,400 steps per agent): extend it with" in line
    longer = dials("init", "--run", run, "--resume", "--steps", "9600")
    assert longer.exit_code == 0, longer.output
    with fleet(run) as members:
        members.start_all()
        members.wait()
    assert '"agent_steps": 9600' in (surroundings / run / "summary.json").read_text()
    # Forgotten, it is gone from Redis; its folder stays, and keeps a new run from its name
    assert dials("forget", run).exit_code == 0
    assert f"no run '{run}'" in only_line(dials("status", run), 2)
    assert f"{run} exists" in only_line(init(), 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"--shard": "2/2"}, "--shard 2/2: expected INDEX/COUNT"),
        ({"--shard": "a/b"}, "--shard a/b: expected INDEX/COUNT"),
    ],
)
def test_a_wrong_shard(given: dict[str, str], message: str, dials: Dials, run: str) -> None:
    words = [word for pair in given.items() for word in pair]
    assert message in only_line(dials("worker", "learner", "--run", run, *words), 2)


def test_a_count_of_learners_without_a_number_of_this_one(
    dials: Dials, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALS_LEARNERS", "2")
    monkeypatch.setenv("HONCHO_PROCESS_NAME", "learner.3")
    line = only_line(dials("worker", "learner", "--run", run), 2)
    assert "neither honcho's name of this process nor the host name tells" in line


def test_a_killed_embedded_run_is_missed_no_longer_once_it_is_forgotten(
    dials: Dials, surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run of one process that was killed, and no Redis
    monkeypatch.setenv("DIALS_REDIS_URL", f"redis://127.0.0.1:{lasting_port()}/0")
    register("dials", "killed.train@h", "127.0.0.1:1", {"run": "killed"})
    others = register("dials", "other.train@h", "127.0.0.1:2", {"run": "other"})
    # When it is forgotten
    result = dials("forget", "killed")
    # Then Redis is missed in one line, and Prometheus no longer looks for it
    assert result.exit_code != 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("(Prometheus no longer looks for its processes)\n")
    assert list((surroundings / ".targets" / "dials").iterdir()) == [others.path]
