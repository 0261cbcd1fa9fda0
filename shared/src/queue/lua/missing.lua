-- ARGV: ids. Returns per job 1 where Redis does not know it, else 0.
local reply = {}
for i = 1, #ARGV do reply[i] = 1 - call('HEXISTS', P .. 'job', ARGV[i]) end
return reply
