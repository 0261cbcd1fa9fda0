-- ARGV: (id, lease token, organisation, delay in ms or -1, meta or '') per job. Ends a lease without ending the job: a retry and a snooze
-- wait for their delay, a hand-back (-1) goes to the front of its lane at once.
-- Returns per job: 1 given back, 0 the lease was not the caller's, 2 it had been cancelled and is forgotten.
even_without_memory()
local ids, tokens = {}, {}
for i = 1, #ARGV, 5 do
  ids[#ids + 1] = ARGV[i]
  tokens[#tokens + 1] = ARGV[i + 1]
end
local own = held(ids, tokens)
local envelopes = call('HMGET', P .. 'job', unpack(ids))
local metas = call('HMGET', P .. 'meta', unpack(ids))
local ended, dropped, orgs, front, back, reply = {}, {}, {}, {}, {}, {}
local sooner = false
for i = 1, #ids do
  local id, delay, meta = ids[i], tonumber(ARGV[i * 5 - 1]), ARGV[i * 5]
  reply[i] = 0
  if own[i] then
    reply[i] = 1
    ended[#ended + 1] = id
    add(orgs, ARGV[i * 5 - 2], id)
    if metas[i] == 'x' or not envelopes[i] then
      reply[i] = 2
      dropped[#dropped + 1] = id
    else
      if meta == '' then call('HDEL', P .. 'meta', id) else call('HSET', P .. 'meta', id, meta) end
      if delay > 0 then
        call('ZADD', P .. 'delayed', int(now + delay), id)
        sooner = sooner or call('ZRANGE', P .. 'delayed', 0, 0)[1] == id
      else
        add(delay < 0 and front or back, lane_of(envelopes[i]), id)
      end
    end
  end
end
unlease(ended)
forget(dropped)
make_ready(front, 'LPUSH')
make_ready(back, 'RPUSH')
release(orgs)
if #front > 0 or #back > 0 or sooner then wake() end
return reply
