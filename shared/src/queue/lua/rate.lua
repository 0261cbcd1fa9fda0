-- ARGV: (key, interval in µs, tolerance in µs, horizon in µs, job) per question: may this job begin under this key's rate now?
-- The generic cell rate algorithm with places: who may not begin is given the time at which it may, and is let through when it comes
-- back then. KEYS[1] is `mr:{rate}:ctl`. A key is a zset of times in µs: `t`, up to which places are given away, `a`, up to which beginnings
-- have used the rate up, and each job that has a place. Places alone would let a crowd through that comes late, so `a` counts what
-- does begin, with an interval more of tolerance, because nobody comes back to the microsecond.
-- Returns the time in µs, then per question 0 where the job may begin, else the wait in ms.
local GRACE = 600 * 1000000
local reply = { int(now_us) }
for i = 1, #ARGV, 5 do
  local key, job = P .. ARGV[i], ARGV[i + 4]
  local interval, tolerance, horizon = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local state = call('ZMSCORE', key, 't', 'a', job)
  local used, place = tonumber(state[2] or '0'), state[3] and tonumber(state[3])
  local given = math.max(tonumber(state[1] or '0'), used)
  local begins, wait = false, 0
  if place and place > now_us then
    wait = place - now_us
  elseif place and used - tolerance - interval <= now_us then
    begins, place = true, nil
  else
    local earliest = given - tolerance
    if earliest <= now_us then
      begins, place = true, nil
      given = math.max(given, now_us) + interval
    elseif earliest - now_us > horizon then
      wait, place = horizon, nil
    else
      wait, place = earliest - now_us, earliest
      given = given + interval
    end
  end
  if begins then used = math.max(used, now_us) + interval end
  if place then
    call('ZADD', key, score(given), 't', score(used), 'a', score(place), job)
  else
    call('ZADD', key, score(given), 't', score(used), 'a')
    if state[3] then call('ZREM', key, job) end
  end
  -- Whoever did not come back, because it was cancelled, say.
  local gone = call('ZRANGEBYSCORE', key, '-inf', score(now_us - GRACE), 'LIMIT', 0, 4)
  if #gone > 0 then call('ZREM', key, unpack(gone)) end
  call('PEXPIRE', key, int(math.ceil((math.max(given, used, now_us) - now_us + GRACE) / 1000)))
  reply[#reply + 1] = begins and 0 or math.max(1, math.ceil(wait / 1000))
end
return reply
