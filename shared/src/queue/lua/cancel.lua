-- ARGV: ids. The ledger has cancelled them already; here they must not be served again.
-- A waiting job leaves a mark that the next claim clears away, because finding it in its list would scan the list.
-- Returns per job: 0 unknown, 1 it waited, 2 it runs (its worker is told).
even_without_memory()
local reply = {}
for i = 1, #ARGV do
  local id = ARGV[i]
  if call('HEXISTS', P .. 'job', id) == 0 then
    reply[i] = 0
  elseif call('ZSCORE', P .. 'leases', id) then
    call('HSET', P .. 'meta', id, 'x')
    call('PUBLISH', P .. 'wake', 'c' .. id)
    reply[i] = 2
  elseif call('ZREM', P .. 'delayed', id) == 1 then
    forget({ id })
    reply[i] = 1
  else
    call('HSET', P .. 'meta', id, 'x')
    reply[i] = 1
  end
end
return reply
