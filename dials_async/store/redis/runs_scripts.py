"""The Lua scripts of the registry of runs: each is one atomic step, and may be run twice (``scripts``).

The first key is the run's entry in the registry. Where it is missing, nothing is written, so that a process
that is still there leaves nothing behind of a run that was deleted; the answer is nil, or "no".
Seconds go through Lua as text: its answers cut numbers to whole ones.
"""

_NOW = """
local function now()
    local time = redis.call('TIME')
    return time[1] .. '.' .. string.format('%06d', time[2])
end
"""

_REQUIRE_RUN = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    return false
end
"""

#: ARGV: config, fingerprint, state, token. Returns 1, or 0 if the run is there and not by this call.
CREATE = (
    _NOW
    + """
local token = redis.call('HGET', KEYS[1], 'token')
if token then
    return token == ARGV[4] and 1 or 0
end
redis.call('HSET', KEYS[1], 'config', ARGV[1], 'fingerprint', ARGV[2], 'state', ARGV[3], 'note', '',
           'token', ARGV[4], 'created_at', now(), 'seconds_before', '0')
return 1
"""
)

#: ARGV: field, value, field, value, ...
UPDATE = (
    _REQUIRE_RUN
    + """
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""
)

#: ARGV: seconds before.
START_CLOCK = (
    _NOW
    + _REQUIRE_RUN
    + """
redis.call('HSET', KEYS[1], 'started_at', now(), 'seconds_before', ARGV[1])
return 1
"""
)

#: KEYS: entry, present, present_at. ARGV: seconds of silence that are a pause. Returns 1.
SKIP_PAUSE = (
    _NOW
    + _REQUIRE_RUN
    + """
local started = redis.call('HGET', KEYS[1], 'started_at')
if started then
    local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
    local heard = math.max(tonumber(started), tonumber(last or started))
    local time = now()
    if tonumber(time) - heard > tonumber(ARGV[1]) then
        local before = tonumber(redis.call('HGET', KEYS[1], 'seconds_before')) + heard - tonumber(started)
        redis.call('HSET', KEYS[1], 'started_at', time, 'seconds_before', string.format('%.6f', before))
    end
end
return 1
"""
)

#: Returns seconds.
ELAPSED = (
    _NOW
    + _REQUIRE_RUN
    + """
local started = redis.call('HGET', KEYS[1], 'started_at')
if not started then
    return '0'
end
local before = tonumber(redis.call('HGET', KEYS[1], 'seconds_before'))
return string.format('%.6f', before + math.max(0, tonumber(now()) - tonumber(started)))
"""
)

#: KEYS: entry, present, present_at. ARGV: process, facts, most processes.
ANNOUNCE = (
    _NOW
    + _REQUIRE_RUN
    + """
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[3], now(), ARGV[1])
for _, process in ipairs(redis.call('ZRANGE', KEYS[3], 0, -tonumber(ARGV[3]) - 1)) do
    redis.call('HDEL', KEYS[2], process)
    redis.call('ZREM', KEYS[3], process)
end
return 1
"""
)

#: KEYS: entry, present, present_at. Returns process, facts, seconds since then, ..., the oldest first.
PROCESSES = (
    _NOW
    + _REQUIRE_RUN
    + """
local result, time = {}, tonumber(now())
local present = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
for i = 1, #present, 2 do
    result[#result + 1] = present[i]
    result[#result + 1] = redis.call('HGET', KEYS[2], present[i]) or '{}'
    result[#result + 1] = string.format('%.6f', time - tonumber(present[i + 1]))
end
return result
"""
)

# A lease is "until owner". One whose time is over stays until it is taken or given up: there are few of them.
_LEASE = """
local function holder(lease)
    local till, owner = string.match(lease or '', '^(%S+) (.*)$')
    return till and tonumber(till) > tonumber(now()) and owner
end
"""

#: KEYS: entry, leases. ARGV: what, owner, seconds. Returns whether it is the owner's now.
CLAIM = (
    _NOW
    + _LEASE
    + _REQUIRE_RUN
    + """
local other = holder(redis.call('HGET', KEYS[2], ARGV[1]))
if other and other ~= ARGV[2] then
    return 0
end
local till = string.format('%.6f', tonumber(now()) + tonumber(ARGV[3]))
redis.call('HSET', KEYS[2], ARGV[1], till .. ' ' .. ARGV[2])
return 1
"""
)

#: KEYS: entry, leases. ARGV: what, owner.
UNCLAIM = (
    _NOW
    + _LEASE
    + """
if holder(redis.call('HGET', KEYS[2], ARGV[1])) == ARGV[2] then
    redis.call('HDEL', KEYS[2], ARGV[1])
end
"""
)

#: KEYS: entry, leases. Returns what, owner, what, owner, ...
CLAIMS = (
    _NOW
    + _LEASE
    + _REQUIRE_RUN
    + """
local result, leases = {}, redis.call('HGETALL', KEYS[2])
for i = 1, #leases, 2 do
    local owner = holder(leases[i + 1])
    if owner then
        result[#result + 1] = leases[i]
        result[#result + 1] = owner
    end
end
return result
"""
)
