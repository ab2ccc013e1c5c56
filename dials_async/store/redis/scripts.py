"""The Lua scripts of the Redis store: each is one atomic step, and may be run twice.

A call whose answer was lost is sent again. So each writing call has a token, which stays beside what it
wrote: whoever finds the own token there was successful the first time.

The first write of a script is one that Redis refuses when it is out of memory; once something was written,
nothing is refused: a script is carried out whole or not at all. All values that come from Python go back to
Redis as they came, so that no number passes through a float.
"""

import secrets

#: Comes before every script that writes for a run. The last of KEYS: info; the last of ARGV: the life.
SAME_LIFE = """
if redis.call('HGET', KEYS[#KEYS], 'life') ~= ARGV[#ARGV] then
    return redis.error_reply('LOST this run was lost')
end
"""

# A hint only, and so no reason to fail: pcall, since a user may be forbidden to publish.
_ANNOUNCE = """
local function announce(counter, channel)
    local changes = redis.call('INCR', counter)
    redis.pcall('PUBLISH', channel, changes)
    return changes
end
"""

_PRUNE = """
local function prune(group, oldest)
    for _, field in ipairs(redis.call('HKEYS', group)) do
        local version = string.match(field, '^[wt]:(%d+)$')
        if version and tonumber(version) < oldest and redis.call('HEXISTS', group, 'h:' .. version) == 0 then
            redis.call('HDEL', group, field)
        end
    end
end
"""

#: KEYS: group, groups, changes. ARGV: id, version, steps before, steps, token, keep_last, hold, state,
#: weights, channel. Returns {1, changes}, or {0, newest version} if this version does not come next.
COMMIT_GROUP = (
    _ANNOUNCE
    + _PRUNE
    + """
local version = ARGV[2]
if redis.call('HGET', KEYS[1], 't:' .. version) == ARGV[5] then
    return {1, tonumber(redis.call('GET', KEYS[3]) or 0)}
end
local newest = redis.call('HGET', KEYS[1], 'version') or '-1'
local steps = redis.call('HGET', KEYS[1], 'steps') or '-1'
if tonumber(newest) ~= tonumber(version) - 1 or steps ~= ARGV[3] then
    return {0, newest}
end
redis.call('HSET', KEYS[1], 'version', version, 'steps', ARGV[4], 'state', ARGV[8],
           'w:' .. version, ARGV[9], 't:' .. version, ARGV[5])
if ARGV[7] ~= '' then
    redis.call('HSET', KEYS[1], 'h:' .. version, ARGV[7])
end
redis.call('SADD', KEYS[2], ARGV[1])
prune(KEYS[1], tonumber(version) - tonumber(ARGV[6]) + 1)
return {1, announce(KEYS[3], ARGV[10])}
"""
)

#: KEYS: group. ARGV: version, purpose, keep_last.
RELEASE = (
    _PRUNE
    + """
local field = 'h:' .. ARGV[1]
local rest = {}
for purpose in string.gmatch(redis.call('HGET', KEYS[1], field) or '', '%S+') do
    if purpose ~= ARGV[2] then
        rest[#rest + 1] = purpose
    end
end
if #rest > 0 then
    redis.call('HSET', KEYS[1], field, table.concat(rest, ' '))
elseif redis.call('HDEL', KEYS[1], field) == 1 then
    prune(KEYS[1], tonumber(redis.call('HGET', KEYS[1], 'version')) - tonumber(ARGV[3]) + 1)
end
"""
)

#: KEYS: group. Returns version, what it is needed for, version, ... in no order.
HOLDS = """
local holds = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local version = string.match(field, '^h:(%d+)$')
    if version then
        holds[#holds + 1] = version
        holds[#holds + 1] = redis.call('HGET', KEYS[1], field)
    end
end
return holds
"""

#: KEYS: aips, changes. ARGV: version, steps before, steps, state, token, keep_last_aips, channel. Returns as
#: COMMIT_GROUP.
COMMIT_AIP = (
    _ANNOUNCE
    + """
local version = ARGV[1]
if redis.call('HGET', KEYS[1], 't:' .. version) == ARGV[5] then
    return {1, tonumber(redis.call('GET', KEYS[2]) or 0)}
end
local newest = redis.call('HGET', KEYS[1], 'version') or '-1'
local steps = redis.call('HGET', KEYS[1], 'steps') or '-1'
if tonumber(newest) ~= tonumber(version) - 1 or steps ~= ARGV[2] then
    return {0, newest}
end
redis.call('HSET', KEYS[1], 'version', version, 'steps', ARGV[3],
           'a:' .. version, ARGV[4], 't:' .. version, ARGV[5])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local old = string.match(field, '^[at]:(%d+)$')
    if old and tonumber(old) <= tonumber(version) - tonumber(ARGV[6]) then
        redis.call('HDEL', KEYS[1], field)
    end
end
return {1, announce(KEYS[2], ARGV[7])}
"""
)

#: KEYS: ids, rows, kinds, changes. ARGV: kind, id, record, token, channel. Returns {1 if appended, changes}.
APPEND = (
    _ANNOUNCE
    + """
if redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[4]) == 0 then
    local mine = redis.call('HGET', KEYS[1], ARGV[2]) == ARGV[4]
    return {mine and 1 or 0, tonumber(redis.call('GET', KEYS[4]) or 0)}
end
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[1])
return {1, announce(KEYS[4], ARGV[5])}
"""
)


def new_token() -> str:
    """What a call leaves beside its write, to know it again when its answer was lost."""
    return secrets.token_hex(8)
