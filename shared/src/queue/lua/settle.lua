-- ARGV: (id, lease token, organisation) per job. Forgets jobs that the ledger knows to have ended.
-- Returns 1 per job whose lease the caller held, else 0.
even_without_memory()
local ids, tokens = {}, {}
for i = 1, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
  tokens[#tokens + 1] = ARGV[i + 1]
end
local own = held(ids, tokens)
local done, orgs, reply = {}, {}, {}
for i = 1, #ids do
  reply[i] = own[i] and 1 or 0
  if own[i] then
    done[#done + 1] = ids[i]
    add(orgs, ARGV[i * 3], ids[i])
  end
end
if #done > 0 then
  unlease(done)
  forget(done)
  release(orgs)
  local bucket = P .. 'done:' .. int(math.floor(now / 10000))
  if call('INCRBY', bucket, #done) == #done then call('EXPIRE', bucket, 120) end
end
return reply
