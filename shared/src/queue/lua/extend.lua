-- ARGV: lease in µs, then (id, lease token) per job.
-- Returns per job 1 extended, 0 the lease is not the caller's any more, 2 the job was cancelled.
even_without_memory()
local ids, tokens = {}, {}
for i = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  tokens[#tokens + 1] = ARGV[i + 1]
end
local own = held(ids, tokens)
local metas = call('HMGET', P .. 'meta', unpack(ids))
local expiry, leases, reply = int(now_us + tonumber(ARGV[1])), {}, {}
for i = 1, #ids do
  if not own[i] then
    reply[i] = 0
  elseif metas[i] == 'x' then
    reply[i] = 2
  else
    reply[i] = 1
    leases[#leases + 1] = expiry
    leases[#leases + 1] = ids[i]
  end
end
if #leases > 0 then call('ZADD', P .. 'leases', unpack(leases)) end
return reply
