-- ARGV: (id, envelope, delay in ms, meta or '') per job. Idempotent: a job that is known already is left as it is.
-- Returns how many were new.
local ids, fresh, jobs, metas, delayed, ready = {}, 0, {}, {}, {}, {}
for i = 1, #ARGV, 4 do ids[#ids + 1] = ARGV[i] end
local known = call('HMGET', P .. 'job', unpack(ids))
local seen = {}
for i = 1, #ids do
  local id, envelope = ids[i], ARGV[i * 4 - 2]
  if not known[i] and not seen[id] then
    seen[id] = true
    fresh = fresh + 1
    jobs[#jobs + 1] = id
    jobs[#jobs + 1] = envelope
    local delay, meta = tonumber(ARGV[i * 4 - 1]), ARGV[i * 4]
    if meta ~= '' then
      metas[#metas + 1] = id
      metas[#metas + 1] = meta
    end
    if delay > 0 then
      delayed[#delayed + 1] = int(now + delay)
      delayed[#delayed + 1] = id
    else
      add(ready, lane_of(envelope), id)
    end
  end
end
if fresh == 0 then return 0 end
call('HSET', P .. 'job', unpack(jobs))
if #metas > 0 then call('HSET', P .. 'meta', unpack(metas)) end
make_ready(ready, 'RPUSH')
local sooner = false
if #delayed > 0 then
  local first = call('ZRANGE', P .. 'delayed', 0, 0)[1]
  call('ZADD', P .. 'delayed', unpack(delayed))
  sooner = call('ZRANGE', P .. 'delayed', 0, 0)[1] ~= first
end
if #ready > 0 or sooner then wake() end
return fresh
