"""The store of a distributed run: the store port on one Redis, shared by the processes of the run."""

import threading
from collections.abc import Collection, Mapping
from typing import Any

from redis.exceptions import WatchError

from dials_async.errors import StoreError, VersionConflictError, VersionGoneError
from dials_async.store.base import AipState, Array, GroupState, KeepRules, StoreSnapshot
from dials_async.store.checks import encode_record, frozen_aip, frozen_group, require_next
from dials_async.store.redis import scripts
from dials_async.store.redis.hashes import (
    aip_states,
    group_snapshot,
    restored_hashes,
    restored_records,
    whole_records,
)
from dials_async.store.redis.keys import RunKeys
from dials_async.store.redis.link import PATIENCE_S, RedisLink
from dials_async.store.redis.news import News
from dials_async.store.redis.opening import guarded, require_schema, warn_of_eviction
from dials_async.store.redis.packing import (
    damage_named,
    pack_aip,
    pack_group,
    pack_holds,
    unpack_aip,
    unpack_array,
    unpack_group,
    unpack_holds,
    unpack_number,
    unpack_record,
)


class RedisStore:
    """Implements the Store protocol. One hash holds all of a group, so that no read sees half a commit.

    Every call outlasts an outage of ``patience_s``; then, or when ``give_up`` is set during one, or after
    ``close``, it raises StoreError. A server that hangs without hanging up is noticed after 10 s.
    """

    def __init__(
        self,
        url: str,
        run: str,
        rules: KeepRules,
        patience_s: float = PATIENCE_S,
        give_up: threading.Event | None = None,
    ) -> None:
        """Raises StoreError if there is no such Redis, or one of another schema; UsageError by ``run``."""
        self._rules = rules
        self._keys = RunKeys(run)
        self._info, self._changes = self._keys.key("info"), self._keys.key("changes")
        self._groups, self._kinds = self._keys.key("groups"), self._keys.key("kinds")
        self._aips, self._channel = self._keys.key("aips"), self._keys.key("news")
        self._link = RedisLink(url, patience_s, give_up)
        try:
            self.life = require_schema(self._link, self._keys)
            """See Store."""
            opened = (self._link, self._keys, self.life)
            self._commit_group = guarded(*opened, scripts.COMMIT_GROUP)
            self._commit_aip = guarded(*opened, scripts.COMMIT_AIP)
            self._append = guarded(*opened, scripts.APPEND)
            self._read_holds = self._link.script(scripts.HOLDS)
            self._release = guarded(*opened, scripts.RELEASE)
            warn_of_eviction(self._link)
            self._news = News(self._link, self._changes, self._channel)
        except BaseException:
            self._link.close()
            raise

    def close(self) -> None:
        """Calls that wait, and all later ones, raise StoreError. Twice is allowed."""
        self._link.close()
        self._news.close()

    def commit_group(self, state: GroupState, hold: Collection[str] = ()) -> None:
        """See Store."""
        key, what = self._keys.group(state.group), f"group {state.group}"
        state = frozen_group(state)
        before = self._require_next(what, key, state)
        answer = self._commit_group(
            (key, self._groups, self._changes),
            (
                state.group,
                state.version,
                before,
                state.steps_per_agent,
                scripts.new_token(),
                self._rules.keep_last,
                pack_holds(hold),
                *pack_group(state),
                self._channel,
            ),
        )
        self._conclude(what, state, answer)

    def latest_group(self, group: int) -> GroupState | None:
        """See Store."""
        newest = self._newest(self._keys.group(group), "state", "w:")
        return unpack_group(group, *newest) if newest else None

    def group_version(self, group: int) -> int:
        """See Store."""
        return self._version(self._keys.group(group))

    def weights(self, group: int, version: int) -> Array:
        """See Store."""
        newest, blob = self._versioned(self._keys.group(group), f"w:{version}")
        if blob is None:
            raise VersionGoneError(f"group {group}: version {version} is not kept, the newest is {newest}")
        return unpack_array(f"group {group}, weights of version {version}", blob)

    def release(self, group: int, version: int, purpose: str) -> None:
        """See Store."""
        self._release((self._keys.group(group),), (version, purpose, self._rules.keep_last))

    def held(self, group: int, purpose: str) -> list[int]:
        """See Store."""
        answer = self._read_holds((self._keys.group(group),), ())
        pairs, what = zip(answer[::2], answer[1::2], strict=True), f"group {group}, what is held"
        return sorted(unpack_number(what, v) for v, held in pairs if purpose in unpack_holds(held))

    def commit_aip(self, state: AipState) -> None:
        """See Store."""
        state = frozen_aip(state)
        before = self._require_next("AIPs", self._aips, state)
        answer = self._commit_aip(
            (self._aips, self._changes),
            (
                state.version,
                before,
                state.steps_per_agent,
                pack_aip(state),
                scripts.new_token(),
                self._rules.keep_last_aips,
                self._channel,
            ),
        )
        self._conclude("AIPs", state, answer)

    def latest_aip(self) -> AipState | None:
        """See Store."""
        newest = self._newest(self._aips, "a:")
        return unpack_aip(*newest) if newest else None

    def aip_version(self) -> int:
        """See Store."""
        return self._version(self._aips)

    def aip(self, version: int) -> AipState:
        """See Store."""
        newest, blob = self._versioned(self._aips, f"a:{version}")
        if blob is None:
            raise VersionGoneError(f"AIPs: version {version} is not kept, the newest is {newest}")
        return unpack_aip(version, blob)

    def append_record(self, kind: str, record: Mapping[str, Any]) -> bool:
        """See Store."""
        key, text = encode_record(kind, record)
        keys = (self._keys.ids(kind), self._keys.rows(kind), self._kinds, self._changes)
        appended, changes = self._append(keys, (kind, key, text, scripts.new_token(), self._channel))
        self._news.note(changes)
        return bool(appended)

    def records(self, kind: str) -> list[dict[str, Any]]:
        """See Store."""
        rows = self._link.call(lambda client: client.lrange(self._keys.rows(kind), 0, -1))
        return [unpack_record(kind, row) for row in rows]

    def wait(self, timeout_s: float) -> bool:
        """See Store. What others changed is known here within a second even if their message is lost."""
        return self._news.wait(timeout_s)

    @property
    def connected(self) -> bool:
        """See Store."""
        return self._link.answers

    @property
    def reconnects(self) -> int:
        """See Store."""
        return self._link.reconnects

    @property
    def refusal(self) -> str | None:
        """See Store."""
        return self._link.refusal

    def snapshot(self) -> StoreSnapshot:
        """See Store; it costs what it weighs. A Redis that is out of memory refuses it too."""
        groups, kinds, answers = self._link.call(self._cut)
        fields = dict(zip(groups, answers, strict=False))
        rows = zip(kinds, answers[len(groups) + 1 :], strict=True)
        return StoreSnapshot(
            {group: group_snapshot(group, fields[group]) for group in groups},
            aip_states(answers[len(groups)]),
            {kind: whole_records(kind, lines) for kind, lines in rows},
        )

    def restore(self, snapshot: StoreSnapshot) -> None:
        """See Store."""
        hashes = restored_hashes(snapshot, self._keys, self._rules)
        records, token = restored_records(snapshot), scripts.new_token()

        def attempt(client: Any) -> int:
            with client.pipeline(transaction=True) as pipe:
                pipe.watch(self._info, self._groups, self._aips, self._kinds)
                if pipe.hget(self._info, "restored") == token.encode():  # the answer was lost
                    return int(pipe.get(self._changes))
                if pipe.exists(self._groups, self._aips, self._kinds):
                    return 0
                pipe.multi()
                for key, fields in hashes.items():
                    pipe.hset(key, mapping=fields)
                if snapshot.groups:
                    pipe.sadd(self._groups, *snapshot.groups)
                for kind, rows in records.items():
                    pipe.sadd(self._kinds, kind)
                    if rows:
                        pipe.hset(self._keys.ids(kind), mapping=dict.fromkeys(rows, token))
                        pipe.rpush(self._keys.rows(kind), *rows.values())
                pipe.hset(self._info, "restored", token)
                pipe.incr(self._changes)  # not published: others see it within a second
                try:
                    return int(pipe.execute()[-1])
                except WatchError:
                    return 0

        changes = self._link.call(attempt)
        if not changes:
            raise StoreError("the store is not empty: a checkpoint is restored before anything is committed")
        self._news.note(changes)

    def _cut(self, client: Any) -> tuple[list[int], list[str], list[Any]]:
        """Groups, kinds, and what Redis holds of them at one moment: hashes of groups, of AIPs, records."""
        while True:
            with client.pipeline(transaction=True) as pipe:
                # What else is there to be read changes only when one of these does.
                pipe.watch(self._groups, self._kinds)
                groups = sorted(unpack_number(self._groups, group) for group in pipe.smembers(self._groups))
                with damage_named(self._kinds):
                    kinds = sorted(kind.decode() for kind in pipe.smembers(self._kinds))
                pipe.multi()
                for group in groups:
                    pipe.hgetall(self._keys.group(group))
                pipe.hgetall(self._aips)
                for kind in kinds:
                    pipe.lrange(self._keys.rows(kind), 0, -1)
                try:
                    return groups, kinds, pipe.execute()
                except WatchError:
                    continue

    def _version(self, key: str) -> int:
        version = self._link.call(lambda client: client.hget(key, "version"))
        return -1 if version is None else unpack_number(key, version)

    def _newest(self, key: str, *fields: str) -> tuple[Any, ...] | None:
        """The newest version and these fields, at one moment; one that ends with ':' is of that version."""

        def fetch(client: Any) -> tuple[Any, ...] | None:
            # Not a script: Lua copies what it returns (3 MB: 9 ms in place of 6).
            while (version := client.hget(key, "version")) is not None:
                number = unpack_number(key, version)
                names = [f"{field}{number}" if field.endswith(":") else field for field in fields]
                now, *values = client.hmget(key, "version", *names)
                if now == version:
                    return number, *values
            return None

        return self._link.call(fetch)

    def _versioned(self, key: str, field: str) -> tuple[int, bytes | None]:
        """The newest version and a field, at one moment."""
        newest, blob = self._link.call(lambda client: client.hmget(key, "version", field))
        return -1 if newest is None else unpack_number(key, newest), blob

    def _require_next(self, what: str, key: str, state: GroupState | AipState) -> int:
        """The steps before ``state``, -1 if it is the first. Raises as ``commit_group`` says."""
        # The script looks again; here it saves sending what is late.
        version, steps = self._link.call(lambda client: client.hmget(key, "version", "steps"))
        if version is None:
            require_next(what, state, None)
            return -1
        before = unpack_number(key, steps)
        require_next(what, state, AipState(unpack_number(key, version), before, {}))
        return before

    def _conclude(self, what: str, state: GroupState | AipState, answer: list[Any]) -> None:
        """Take note of a commit, or raise VersionConflictError."""
        done, told = answer
        if not done:
            raise VersionConflictError(
                f"{what}: version {state.version} cannot follow {int(told)}: somebody else committed"
            )
        self._news.note(told)
