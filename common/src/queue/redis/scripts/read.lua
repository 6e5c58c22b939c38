-- A note of a generation, or nothing. ARGV: generation, key.
if redis.call('HGET', BOARD, 'generation') ~= ARGV[1] then return false end
return redis.call('HGET', BOARD, 'note:' .. ARGV[2])
