-- A value of a generation, or nothing. ARGV: generation, key.
if redis.call('HGET', RENDEZVOUS, 'generation') ~= ARGV[1] then return false end
return redis.call('HGET', RENDEZVOUS, 'note:' .. ARGV[2])
