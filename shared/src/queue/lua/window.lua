-- ARGV: 'enter', key, id, how many, for how many ms; or 'leave', key, id, for how many ms.
-- A window that slides: a zset of those within it, by the time (ms) until which they count. Who enters counts until its call may be taken for lost; who
-- leaves, for a period more from then on. So whenever between the two a call arrived, no more than so many have arrived in any period.
-- Returns 0 for who has entered or left, else after how many ms somebody will have left at the latest.
local key, id = P .. ARGV[2], ARGV[3]
if ARGV[1] == 'leave' then
  -- What is counted in whole milliseconds may have been one later.
  local until_ms = now + tonumber(ARGV[4]) + 1
  if call('ZADD', key, 'XX', 'CH', int(until_ms), id) == 1 then call('PEXPIRE', key, math.max(tonumber(ARGV[4]) + 1000, call('PTTL', key))) end
  return 0
end
call('ZREMRANGEBYSCORE', key, '-inf', int(now))
if call('ZCARD', key) >= tonumber(ARGV[4]) then
  return math.max(1, tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) - now)
end
call('ZADD', key, int(now + tonumber(ARGV[5])), id)
call('PEXPIRE', key, math.max(tonumber(ARGV[5]) + 1000, call('PTTL', key)))
return 0
