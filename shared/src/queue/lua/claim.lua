-- ARGV: how many, lease in µs, worker, how many expired and how many due jobs to move at most, how many to move and to lease in all at most.
-- Returns {status, now in ms, next event in ms or 0, lease token, (id and meta in one, envelope) per job}. Whenever there are fewer jobs than
-- asked for, the queue is marked so that the next change wakes the caller, and the next event says when to ask without being woken.
-- status: 0 served, 1 paused, 2 the queue's settings are lost (nothing is served until they are restored), 3 at the queue's limit or rate.
even_without_memory()
local asked, lease, worker, batch = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local want = asked
local ctl = call('HMGET', P .. 'ctl', 'epoch', 'paused', 'limit', 'org_limit', 'own', 'turn', 'owed', 'rate', 'rate_used', 'org_rate')

-- A rate is `interval,tolerance` in µs. It is used up to a time: each beginning moves that on by an interval, and may do so as long as it is
-- no further ahead than the tolerance.
local function rate_of(text)
  local interval, tolerance = string.match(text or '', '^([^,]+),([^,]+)$')
  return interval and { interval = tonumber(interval), tolerance = tonumber(tolerance) }
end
local function may_begin(rate, used) return math.floor((now_us + rate.tolerance - math.max(used, now_us)) / rate.interval) + 1 end
local function use(rate, used, count) return math.max(used, now_us) + count * rate.interval end
local rate, rate_used, org_rate = rate_of(ctl[8]), tonumber(ctl[9] or '0'), rate_of(ctl[10])

-- Jobs whose worker let its lease run out go back to the front of their lane, counted as lost.
local function return_lost()
  local ids = call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. int(now_us), 'LIMIT', 0, batch)
  if #ids == 0 then return 0 end
  local envelopes = call('HMGET', P .. 'job', unpack(ids))
  local metas = call('HMGET', P .. 'meta', unpack(ids))
  local ready, orgs, dropped = {}, {}, {}
  for i = 1, #ids do
    local envelope, meta = envelopes[i], metas[i] or '0,0,0'
    if envelope then add(orgs, org_of(lane_of(envelope)), ids[i]) end
    if not envelope or meta == 'x' then
      dropped[#dropped + 1] = ids[i]
    else
      -- What a later version may add behind is kept.
      local attempt, lost, rest = string.match(meta, '^(%d+),(%d+)(.*)$')
      call('HSET', P .. 'meta', ids[i], (attempt or '0') .. ',' .. int((lost or 0) + 1) .. (rest or ',0'))
      add(ready, lane_of(envelope), ids[i])
    end
  end
  unlease(ids)
  forget(dropped)
  make_ready(ready, 'LPUSH')
  release(orgs)
  return #ids
end

local function promote_due()
  local ids = call('ZRANGEBYSCORE', P .. 'delayed', '-inf', int(now), 'LIMIT', 0, batch)
  if #ids == 0 then return 0 end
  local envelopes = call('HMGET', P .. 'job', unpack(ids))
  local ready = {}
  for i = 1, #ids do
    if envelopes[i] then add(ready, lane_of(envelopes[i]), ids[i]) end
  end
  call('ZREM', P .. 'delayed', unpack(ids))
  make_ready(ready, 'RPUSH')
  return #ids
end

-- Organisations that were over their rate and may go on.
local function wake_rested()
  local lanes = call('ZRANGEBYSCORE', P .. 'resting', '-inf', int(now_us), 'LIMIT', 0, batch)
  if #lanes == 0 then return end
  local orgs = {}
  for i = 1, #lanes do orgs[i] = org_of(lanes[i]) end
  call('ZREM', P .. 'resting', unpack(lanes))
  unpark(orgs)
end

-- Nothing comes due while nothing is served: a worker that was told so would ask again and again.
local function next_event(serving)
  local due = serving and call('ZRANGE', P .. 'delayed', 0, 0, 'WITHSCORES')[2]
  local expiry = call('ZRANGE', P .. 'leases', 0, 0, 'WITHSCORES')[2]
  local at = due and tonumber(due)
  if expiry then
    local ms = math.ceil(tonumber(expiry) / 1000) + 1
    if not at or ms < at then at = ms end
  end
  local free = serving and rate and rate_used - rate.tolerance
  local rested = serving and org_rate and call('ZRANGE', P .. 'resting', 0, 0, 'WITHSCORES')[2]
  if free and free > now_us then at = math.min(at or math.huge, math.ceil(free / 1000)) end
  if rested then at = math.min(at or math.huge, math.ceil(tonumber(rested) / 1000)) end
  return at and int(at) or '0'
end

local moved = return_lost()
local status = 0
if not ctl[1] then
  status = 2
elseif ctl[2] then
  status = 1
else
  moved = moved + promote_due()
  if org_rate then wake_rested() end
  if ctl[3] then want = math.min(want, tonumber(ctl[3]) - call('ZCARD', P .. 'leases')) end
  if rate then want = math.min(want, may_begin(rate, rate_used)) end
  if want <= 0 then status = 3 end
end
-- What was moved was work, too: whoever waits for Redis waits for both.
local room = tonumber(ARGV[5]) - moved
local is_cut = room < want
want = math.min(want, room)
if status ~= 0 then
  call('HSET', P .. 'ctl', 'idle', 1)
  return { status, int(now), next_event(status == 3), '0' }
end

local ids, lanes, parked, taking = {}, {}, {}, {}
local org_limit = ctl[4] and tonumber(ctl[4])
-- How many organisations are looked at, and how many jobs taken, at most: cancelled ones are taken and not served.
local probes, most = 2 * want + 64, 2 * want + 256

-- What holds for organisations, parallel to `orgs`: their weights, how many more of their jobs may run, and the sum of the weights; and up
-- to when they have used up their rate.
local function terms(orgs)
  local weights, rooms, total, bounded = {}, {}, 0, false
  local own = ctl[5] and call('HMGET', P .. 'own', unpack(orgs)) or {}
  for i = 1, #orgs do
    local weight, limit = string.match(own[i] or '', '^(%d+),(%d*)')
    weights[i] = weight and tonumber(weight) or 1
    rooms[i] = limit and tonumber(limit) or org_limit
    total = total + weights[i]
    bounded = bounded or rooms[i]
  end
  local running = bounded and call('HMGET', P .. 'running', unpack(orgs))
  for i = 1, #orgs do
    rooms[i] = rooms[i] and rooms[i] - (running[i] or 0) - (taking[orgs[i]] or 0) or math.huge
  end
  local used = org_rate and call('ZMSCORE', P .. 'paced', unpack(orgs)) or {}
  for i = 1, org_rate and #orgs or 0 do
    used[i] = tonumber(used[i] or '0')
    rooms[i] = math.min(rooms[i], may_begin(org_rate, used[i]) - (taking[orgs[i]] or 0))
  end
  return weights, rooms, total, used
end

-- Takes an organisation out of a ring that may not begin anything. One that is over its rate comes back by time.
local function set_aside(lane, own, used)
  park(lane, own)
  parked[#parked + 1] = org_of(lane)
  if not org_rate then return end
  local then_used = use(org_rate, used, taking[org_of(lane)] or 0)
  if may_begin(org_rate, then_used) <= 0 then call('ZADD', P .. 'resting', score(then_used - org_rate.tolerance), lane) end
end

-- Serves up to `count` jobs of one priority: the organisations with the least virtual time first, each a share by its weight.
local function serve(prio, count)
  local ring, taken = P .. 'ring:' .. prio, 0
  while taken < count and probes > 0 do
    local open = count - taken
    local heads = call('ZRANGE', ring, 0, math.min(open, 64) - 1, 'WITHSCORES')
    if #heads == 0 then break end
    call('HSET', P .. 'ctl', 'v' .. prio, heads[2])
    local orgs = {}
    for i = 1, #heads, 2 do orgs[#orgs + 1] = heads[i] end
    local weights, rooms, total, used = terms(orgs)
    for i = 1, #orgs do
      probes = probes - 1
      local org, own, lane = orgs[i], heads[2 * i], prio .. orgs[i]
      if taken >= count then break end
      if rooms[i] <= 0 then
        set_aside(lane, own, used[i])
      else
        local share = math.min(math.ceil(open * weights[i] / total), count - taken, rooms[i])
        local got = call('LPOP', ready_key(lane), int(share))
        if got then
          for j = 1, #got do
            ids[#ids + 1] = got[j]
            lanes[#lanes + 1] = lane
          end
          taken = taken + #got
          taking[org] = (taking[org] or 0) + #got
          call('ZADD', ring, score(own + #got / weights[i]), org)
        else
          call('ZREM', ring, org)
        end
      end
    end
  end
  if taken > 0 then call('HINCRBY', P .. 'depth', prio, -taken) end
  return taken
end

-- Strict order would starve the lower levels. So of eight claims that serve anything, one serves `low` first, one `normal` and one `high`,
-- with a quarter of its jobs. A level that is not served in its turn, because its organisations are at their limits, is owed it.
local turn, owed = ((ctl[6] or 0) + 1) % 8, ctl[7] or ''
local due = turn == 2 and '1' or turn == 4 and '2' or turn == 0 and '3'
if due and not string.find(owed, due) then owed = owed .. due end
local first, first_served = string.sub(owed, 1, 1), 0

local token, expiry = int(now_us), int(now_us + lease)
local reply = { 0, int(now), '0', token }

-- Counts beginnings against organisations' rates. Times that have passed say nothing and are cleared away.
local function charge(counts)
  for org, count in pairs(counts) do
    local used = tonumber(call('ZSCORE', P .. 'paced', org) or '0')
    call('ZADD', P .. 'paced', score(use(org_rate, used, count)), org)
  end
  local gone = call('ZRANGEBYSCORE', P .. 'paced', '-inf', int(now_us), 'LIMIT', 0, batch)
  if #gone > 0 then call('ZREM', P .. 'paced', unpack(gone)) end
  call('PEXPIRE', P .. 'paced', int(math.ceil((org_rate.tolerance + org_rate.interval) / 1000) + 1000))
end

-- Leases the jobs taken after the first `done` ones. Gives how many were cancelled; those leave their room to others.
local function lease_out(done)
  local envelopes = call('HMGET', P .. 'job', unpack(ids, done + 1))
  local metas = call('HMGET', P .. 'meta', unpack(ids, done + 1))
  local leases, live, dropped, counts = {}, {}, {}, {}
  for i = 1, #ids - done do
    local id, org = ids[done + i], org_of(lanes[done + i])
    taking[org] = taking[org] - 1
    if not envelopes[i] or metas[i] == 'x' then
      dropped[#dropped + 1] = id
    else
      leases[#leases + 1] = expiry
      leases[#leases + 1] = id
      live[#live + 1] = id
      live[#live + 1] = token .. ' ' .. worker
      counts[org] = (counts[org] or 0) + 1
      local at = #reply
      reply[at + 1], reply[at + 2] = id .. (metas[i] or ''), envelopes[i]
    end
  end
  forget(dropped)
  if #leases > 0 then
    call('ZADD', P .. 'leases', unpack(leases))
    call('HSET', P .. 'live', unpack(live))
    for org, count in pairs(counts) do call('HINCRBY', P .. 'running', org, count) end
    if rate then
      rate_used = use(rate, rate_used, #live / 2)
      call('HSET', P .. 'ctl', 'rate_used', score(rate_used))
    end
    if org_rate then charge(counts) end
  end
  return #dropped
end

local dropped
repeat
  local done = #ids
  if first ~= '' then
    local served = serve(first, math.ceil(want / 4))
    first_served, want = first_served + served, want - served
  end
  for prio = 0, 3 do
    if want <= 0 then break end
    want = want - serve(prio, want)
  end
  dropped = #ids > done and lease_out(done) or 0
  want = want + dropped
  if dropped > 0 and #parked > 0 then
    -- Cancelled jobs may have filled up an organisation's room, and nothing that runs would bring it back.
    local _, rooms = terms(parked)
    local free = {}
    for i = 1, #parked do
      if rooms[i] > 0 then free[#free + 1] = parked[i] end
    end
    if #free > 0 then unpark(free) end
    parked = {}
  end
until dropped == 0 or probes <= 0 or #ids >= most

if #ids > 0 then
  local still = first
  if first_served > 0 or first == '' or tonumber(call('HGET', P .. 'depth', first) or '0') <= 0 then still = '' end
  call('HSET', P .. 'ctl', 'turn', turn, 'owed', string.sub(owed, 2) .. still)
end

if (#reply - 4) / 2 < asked then
  call('HSET', P .. 'ctl', 'idle', 1)
  local unfinished = is_cut or want > 0 and (probes <= 0 or dropped > 0)
  reply[3] = unfinished and int(now) or next_event(true)
end
return reply
