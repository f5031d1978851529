"""What happens inside of Redis: one Lua script for each step that must not be cut in half.

Rules of this file: text and names, nothing that happens in Python. Scripts use no randomness of their own, so
that what is fresh is an argument, and no clock but that of Redis, which is not let go back within a channel.

Keys:

``wsecho:server``
    A hash. ``run``: the process of Redis that was met last. ``generation``: a name that changes whenever
    writes may have been lost: after a flush, a restart from older data, a failover.
``wsecho:m:CHANNEL``
    A hash: the channel's ``epoch`` and ``offset``, kept when entries are not, and the generation that they
    belong to. When that is another than the server's, a new epoch begins. Offsets go on, so that entries that
    are still there keep theirs: ``base`` is where the new epoch began, ``previous`` the one before.
``wsecho:s:CHANNEL``
    The stream: entry ``OFFSET-0`` has ``t``, milliseconds, and ``b``, the body.
``wsecho:i:CHANNEL``
    A sorted set: ids of retained messages, by offset.
``wsecho:p:CHANNEL``
    A hash: members on the channel, by node.
``wsecho:nodes``
    A sorted set: nodes, by when they expire.

Messages are published on ``wsecho:DATABASE:c:CHANNEL``, and a node's own signs of life on
``wsecho:DATABASE:n:NODE``: Redis does not keep subscriptions of different databases apart.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ANNOUNCE",
    "BEAT",
    "CONNECT",
    "COUNT",
    "HISTORY",
    "POSITION",
    "PUBLISH",
    "ROTATE",
    "SCRIPTS",
    "TOUCH",
]

# KEYS: server, meta. ARGV: fresh, milliseconds that meta lasts.
# Numbers are written by %.0f: Lua's tostring would write 1e+15.
_META = """
local server, meta = KEYS[1], KEYS[2]
local generation = redis.call('HGET', server, 'generation')
if not generation then
  generation = ARGV[1]
  redis.call('HSET', server, 'generation', generation)
end
local known = redis.call('HMGET', meta, 'generation', 'epoch', 'offset', 'previous', 'base', 'time')
local epoch, offset = known[2], tonumber(known[3] or '0')
local previous, base = known[4] or '', tonumber(known[5] or '0')
if not epoch or known[1] ~= generation then
  previous, base, epoch = epoch or '', offset, ARGV[1]
  redis.call('HSET', meta, 'generation', generation, 'epoch', epoch, 'offset', string.format('%.0f', offset),
    'previous', previous, 'base', string.format('%.0f', base))
end
redis.call('PEXPIRE', meta, ARGV[2])
"""

# KEYS: server, meta, stream, ids. ARGV 3: milliseconds that entries last, or 0.
_TRIM_BY_AGE = """
local stream, ids, age = KEYS[3], KEYS[4], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), tonumber(known[6] or '0'))
local function trim_by_age()
  if age == 0 then return end
  while true do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not oldest then return end
    local fields = oldest[2]
    if fields[1] == 't' and tonumber(fields[2]) and tonumber(fields[2]) > now - age then return end
    redis.call('XDEL', stream, oldest[1])
    redis.call('ZREMRANGEBYSCORE', ids, '-inf', string.match(oldest[1], '^[0-9]+'))
  end
end
trim_by_age()
"""

#: ARGV: fresh, run, whether that run writes to disk before it answers ('1', '0').
#: A generation outlives a run of Redis only if both the old and the new one lose nothing.
CONNECT: Final = """
local known = redis.call('HMGET', KEYS[1], 'run', 'durable', 'generation')
local generation = known[3]
if not generation or (known[1] ~= ARGV[2] and not (known[2] == '1' and ARGV[3] == '1')) then
  generation = ARGV[1]
end
redis.call('HSET', KEYS[1], 'generation', generation, 'run', ARGV[2], 'durable', ARGV[3])
return generation
"""

#: ARGV: fresh, the generation in which a node saw what Redis no longer knows.
ROTATE: Final = """
if redis.call('HGET', KEYS[1], 'generation') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'generation', ARGV[1])
end
return redis.call('HGET', KEYS[1], 'generation')
"""

#: Returns generation, epoch, offset.
POSITION: Final = (
    _META
    + """
return {generation, epoch, string.format('%.0f', offset)}
"""
)

#: ARGV 4: entries kept, 0 for none. 5: where nodes listen. Then an id ('' for none) and a body for each.
#: Returns epoch, how many foreign entries were removed, and for each message its offset.
PUBLISH: Final = (
    # Redis looks at its limit of memory before the first write of a script and not again; PEXPIRE, which
    # comes first otherwise, is let pass.
    "redis.call('HSETNX', KEYS[2], 'offset', '0')"
    + _META
    + _TRIM_BY_AGE
    + """
local size = tonumber(ARGV[4])
local removed = 0
local function add(number, body)
  local id = string.format('%.0f-0', number)
  local done = redis.pcall('XADD', stream, id, 't', string.format('%.0f', now), 'b', body)
  if type(done) ~= 'table' or not done.err then return end
  -- Something stands where ours belongs, and it is foreign: what we numbered ends below.
  local top = string.format('%.0f-0', number - 1)
  for _ = 1, 1000 do
    local entry = redis.call('XREVRANGE', stream, '+', '(' .. top, 'COUNT', 1)[1]
    if not entry then break end
    redis.call('XDEL', stream, entry[1])
    removed = removed + 1
  end
  if redis.call('XREVRANGE', stream, '+', '(' .. top, 'COUNT', 1)[1] then
    redis.call('UNLINK', stream, ids)
  else
    redis.call('XSETID', stream, top)
  end
  redis.call('XADD', stream, id, 't', string.format('%.0f', now), 'b', body)
end
local answer, lengths, bodies = {epoch, 0}, {}, {}
local first = string.format('%.0f', offset + 1)
for at = 6, #ARGV, 2 do
  local id, body = ARGV[at], ARGV[at + 1]
  local old = size > 0 and id ~= '' and redis.call('ZSCORE', ids, id)
  if old then
    answer[#answer + 1] = old
  else
    offset = offset + 1
    if size > 0 then
      add(offset, body)
      if id ~= '' then redis.call('ZADD', ids, string.format('%.0f', offset), id) end
      redis.call('XTRIM', stream, 'MAXLEN', size)
      redis.call('ZREMRANGEBYSCORE', ids, '-inf', string.format('%.0f', offset - size))
    end
    answer[#answer + 1] = string.format('%.0f', offset)
    lengths[#lengths + 1] = #body
    bodies[#bodies + 1] = body
  end
end
if #bodies > 0 then
  redis.call('HSET', meta, 'offset', string.format('%.0f', offset), 'time', string.format('%.0f', now))
  if size > 0 then
    local lasts = age > 0 and age or ARGV[2]
    redis.call('PEXPIRE', stream, lasts)
    redis.call('PEXPIRE', ids, lasts)
  end
  redis.call('PUBLISH', ARGV[5], '1 ' .. epoch .. ' ' .. first .. ' ' .. table.concat(lengths, ' ') .. '\\n'
    .. table.concat(bodies))
end
answer[2] = removed
return answer
"""
)

#: ARGV 4, 5: the epoch ('' for any) and the offset after which to read. 6: '1' to begin where a new epoch
#: began when that epoch is over, '0' to begin with what is oldest. 7, 8: how many entries and bytes at most.
#: 9: bytes of one body at most, 0 for any. Returns generation, epoch, offset; after which offset was read,
#: and up to which; '1' when there is more; how many foreign entries were removed; then offset and body for
#: each.
HISTORY: Final = (
    _META
    + _TRIM_BY_AGE
    + """
local start = tonumber(ARGV[5])
local begins = ARGV[6] == '1'
if ARGV[4] ~= '' then
  if ARGV[4] == epoch then
    if start > offset then start = begins and offset or 0 end
  elseif not (begins and ARGV[4] == previous and start <= base) then
    start = begins and base or 0
  end
end
local most, bytes, largest = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local answer = {generation, epoch, string.format('%.0f', offset), string.format('%.0f', start), '0', '0', 0}
local reached = string.format('%.0f', start)
local cursor, removed, more = string.format('%.0f', start + 1) .. '-0', 0, '0'
while true do
  local entry = redis.call('XRANGE', stream, cursor, '+', 'COUNT', 1)[1]
  if not entry then break end
  if most <= 0 or bytes <= 0 then
    more = '1'
    break
  end
  local number, fields = string.match(entry[1], '^([0-9]+)%-0$'), entry[2]
  if number and tonumber(number) <= offset and #fields == 4 and fields[1] == 't' and fields[3] == 'b' then
    reached = number
    if largest == 0 or #fields[4] <= largest then
      answer[#answer + 1] = number
      answer[#answer + 1] = fields[4]
      bytes = bytes - #fields[4]
    end
  else
    redis.call('XDEL', stream, entry[1])
    removed = removed + 1
  end
  most = most - 1
  cursor = '(' .. entry[1]
end
answer[5], answer[6], answer[7] = reached, more, removed
return answer
"""
)

#: KEYS: nodes. ARGV: node, milliseconds until it expires, where it listens, what it wants to hear.
#: Returns 1 when it had not expired, and how many nodes there are.
BEAT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local until_now = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return {until_now and tonumber(until_now) > now and 1 or 0, redis.call('ZCARD', KEYS[1])}
"""

_SUM = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local counts, sum = redis.call('HGETALL', KEYS[2]), 0
for at = 1, #counts, 2 do
  local expires = redis.call('ZSCORE', KEYS[1], counts[at])
  if expires and tonumber(expires) > now then
    sum = sum + (tonumber(counts[at + 1]) or 0)
  else
    redis.call('HDEL', KEYS[2], counts[at])
  end
end
"""

#: KEYS: nodes, presence. ARGV: node, count, milliseconds that it lasts, where nodes listen. Returns the sum.
ANNOUNCE: Final = (
    """
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
"""
    + _SUM
    + """
redis.call('PUBLISH', ARGV[4], 'P ' .. ARGV[1] .. ' ' .. string.format('%.0f', sum))
return sum
"""
)

#: KEYS: nodes, presence. Returns the sum.
COUNT: Final = _SUM + "\nreturn sum\n"

#: KEYS: of channels that somebody is on. ARGV: milliseconds that they last.
TOUCH: Final = """
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
return 1
"""

SCRIPTS: Final = (CONNECT, ROTATE, POSITION, PUBLISH, HISTORY, BEAT, ANNOUNCE, COUNT, TOUCH)
