-- ARGV: lease in µs, then (id, lease token) per job.
-- Returns per job the new token, '0' where the lease is not the caller's any more, '-1' where the job was cancelled.
local ids, tokens = {}, {}
for i = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  tokens[#tokens + 1] = ARGV[i + 1]
end
local own = held(ids, tokens)
local metas = call('HMGET', P .. 'meta', unpack(ids))
local token, leases, reply = int(now_us + tonumber(ARGV[1])), {}, {}
for i = 1, #ids do
  if not own[i] then
    reply[i] = '0'
  else
    reply[i] = metas[i] == 'x' and '-1' or token
    if metas[i] ~= 'x' then
      leases[#leases + 1] = token
      leases[#leases + 1] = ids[i]
    end
  end
end
if #leases > 0 then call('ZADD', P .. 'leases', unpack(leases)) end
return reply
