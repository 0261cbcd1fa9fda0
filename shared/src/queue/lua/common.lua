-- Shared by every script. KEYS[1] is `mr:{queue}:ctl`: all keys of a queue carry its hash tag, so they live on one slot.
local call = redis.call
local P = string.sub(KEYS[1], 1, -4)
local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

local function int(number) return string.format('%d', number) end
-- Virtual times of organisations with weights are fractions; this keeps every bit of them.
local function score(number) return string.format('%.17g', number) end

-- At its memory limit Redis refuses what may take memory, unless the script has written something that may not. Scripts that claim, end or
-- hold up jobs begin with that: they are how memory becomes free again. (`flags=allow-oom` says the same, but not to Redis 6.2.)
local function even_without_memory() call('HDEL', P .. 'ctl', '') end

-- An envelope starts with its version, its priority and its organisation; the rest is not the scripts' business.
local function lane_of(envelope) return string.sub(envelope, 2, 18) end
local function prio_of(lane) return string.sub(lane, 1, 1) end
local function org_of(lane) return string.sub(lane, 2) end
local function ready_key(lane) return P .. 'ready:' .. prio_of(lane) .. ':' .. org_of(lane) end

-- Tells idle workers, once, that there is something to claim.
local function wake()
  if call('HDEL', P .. 'ctl', 'idle') == 1 then call('PUBLISH', P .. 'wake', 'w') end
end

-- Puts an organisation into the ring of a priority: no earlier than the ring's clock, so that idleness earns no credit, and no
-- earlier than its own virtual time where that is known, so that waiting for a slot forgives no debt.
local function join_ring(lane, own)
  local ring = P .. 'ring:' .. prio_of(lane)
  local v = call('HGET', P .. 'ctl', 'v' .. prio_of(lane)) or call('ZRANGE', ring, 0, 0, 'WITHSCORES')[2] or '0'
  call('ZADD', ring, 'GT', score(math.max(tonumber(v), tonumber(own or '0'))), org_of(lane))
end

-- Takes an organisation that is at its limit out of a ring.
local function park(lane, own)
  call('ZREM', P .. 'ring:' .. prio_of(lane), org_of(lane))
  call('ZADD', P .. 'parked:' .. prio_of(lane), own, org_of(lane))
end

-- Lets organisations join the rings again that they were taken out of. Tells whether there were any.
local function unpark(orgs)
  local any = false
  for prio = 0, 3 do
    local parked = P .. 'parked:' .. prio
    local own = call('ZMSCORE', parked, unpack(orgs))
    for i = 1, #orgs do
      if own[i] then
        call('ZREM', parked, orgs[i])
        join_ring(prio .. orgs[i], own[i])
        any = true
      end
    end
  end
  return any
end

-- Collects members by key, in order of first appearance.
local function add(groups, key, member)
  local group = groups[key]
  if not group then
    group = {}
    groups[key] = group
    groups[#groups + 1] = key
  end
  group[#group + 1] = member
end

-- Appends (or with LPUSH: puts in front, in the order given) grouped ids to their lanes' ready lists.
local function make_ready(groups, how)
  for i = 1, #groups do
    local lane = groups[i]
    local ids = groups[lane]
    if how == 'LPUSH' then
      for j = 1, math.floor(#ids / 2) do ids[j], ids[#ids + 1 - j] = ids[#ids + 1 - j], ids[j] end
    end
    local length = call(how, ready_key(lane), unpack(ids))
    call('HINCRBY', P .. 'depth', prio_of(lane), #ids)
    if length == #ids then join_ring(lane) end
  end
end

-- Gives back the running slots of organisations; those that waited for one join the ring again. Workers are told where that can be of use
-- to them: whoever is idle has left no organisation in a ring that was not at its limit.
local function release(groups)
  if #groups == 0 then return end
  for i = 1, #groups do
    local org = groups[i]
    if call('HINCRBY', P .. 'running', org, -#groups[org]) <= 0 then call('HDEL', P .. 'running', org) end
  end
  local limits = call('HMGET', P .. 'ctl', 'limit', 'org_limit', 'own')
  local unparked = (limits[2] or limits[3]) and unpark(groups)
  if limits[1] or unparked then wake() end
end

-- Whose lease the caller still holds: parallel to `ids`, true or false. A lease given twice is held once.
local function held(ids, tokens)
  local live = call('HMGET', P .. 'live', unpack(ids))
  local result, seen = {}, {}
  for i = 1, #ids do
    result[i] = not seen[ids[i]] and live[i] and string.match(live[i], '^%d+') == tokens[i]
    seen[ids[i]] = seen[ids[i]] or result[i]
  end
  return result
end

local function forget(ids)
  if #ids == 0 then return end
  call('HDEL', P .. 'job', unpack(ids))
  call('HDEL', P .. 'meta', unpack(ids))
end

local function unlease(ids)
  if #ids == 0 then return end
  call('ZREM', P .. 'leases', unpack(ids))
  call('HDEL', P .. 'live', unpack(ids))
end
