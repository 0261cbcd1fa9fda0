-- Returns {ready by priority (4), delayed, running, finished in the last minute, paused, limit or '', organisations' limit or '', epoch or ''}.
local depth = call('HMGET', P .. 'depth', '0', '1', '2', '3')
local ctl = call('HMGET', P .. 'ctl', 'paused', 'limit', 'org_limit', 'epoch')
local finished, bucket = 0, math.floor(now / 10000)
for i = bucket - 5, bucket do finished = finished + tonumber(call('GET', P .. 'done:' .. int(i)) or '0') end
local reply = {}
for i = 1, 4 do reply[i] = tonumber(depth[i] or '0') end
reply[5] = call('ZCARD', P .. 'delayed')
reply[6] = call('ZCARD', P .. 'leases')
reply[7] = finished
reply[8] = ctl[1] and 1 or 0
reply[9], reply[10], reply[11] = ctl[2] or '', ctl[3] or '', ctl[4] or ''
return reply
