-- ARGV: epoch, paused ('1' or ''), limit or '', organisations' limit or '', rate or '', organisations' rate or '', how many
-- parked organisations of a priority to bring back. The ledger's settings of this queue, brought to Redis.
-- The epoch is kept where there is one: it marks the data as whole, and its loss tells that Redis lost its data.
-- Returns how many parked organisations are left to bring back by another call.
even_without_memory()
local function set(field, value)
  if value == '' then call('HDEL', P .. 'ctl', field) else call('HSET', P .. 'ctl', field, value) end
end
set('paused', ARGV[2])
set('limit', ARGV[3])
set('org_limit', ARGV[4])
set('rate', ARGV[5])
set('org_rate', ARGV[6])
if ARGV[6] == '' then call('UNLINK', P .. 'resting', P .. 'paced') end
call('HSETNX', P .. 'ctl', 'epoch', ARGV[1])
local left = 0
for prio = 0, 3 do
  local orgs = call('ZPOPMIN', P .. 'parked:' .. prio, ARGV[7])
  for i = 1, #orgs, 2 do join_ring(prio .. orgs[i], orgs[i + 1]) end
  left = left + call('ZCARD', P .. 'parked:' .. prio)
end
wake()
return left
