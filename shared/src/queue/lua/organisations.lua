-- ARGV: version expected, version now, '1' to forget what was known, then (organisation, `weight,limit` or '') per organisation. The
-- ledger's settings of organisations, brought to Redis in the order in which they were made.
-- Returns 1, or 0 where somebody else was faster, so that the caller's settings may be older than what is known here.
if (call('HGET', P .. 'ctl', 'own_version') or '') ~= ARGV[1] then return 0 end
if ARGV[3] == '1' then call('UNLINK', P .. 'own') end
local orgs, set, unset = {}, {}, {}
for i = 4, #ARGV, 2 do
  orgs[#orgs + 1] = ARGV[i]
  if ARGV[i + 1] == '' then
    unset[#unset + 1] = ARGV[i]
  else
    set[#set + 1] = ARGV[i]
    set[#set + 1] = ARGV[i + 1]
  end
end
if #set > 0 then call('HSET', P .. 'own', unpack(set)) end
if #unset > 0 then call('HDEL', P .. 'own', unpack(unset)) end
-- Claims look organisations up only where there is something to be found.
if call('EXISTS', P .. 'own') == 1 then call('HSET', P .. 'ctl', 'own', 1) else call('HDEL', P .. 'ctl', 'own') end
call('HSET', P .. 'ctl', 'own_version', ARGV[2])
if #orgs > 0 and unpark(orgs) then wake() end
return 1
