-- ARGV: id, envelope. Gives a waiting job another payload. Returns 1, or 0 where it runs or is unknown.
if call('HEXISTS', P .. 'job', ARGV[1]) == 0 or call('ZSCORE', P .. 'leases', ARGV[1]) then return 0 end
call('HSET', P .. 'job', ARGV[1], ARGV[2])
return 1
