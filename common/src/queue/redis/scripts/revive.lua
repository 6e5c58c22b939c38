-- Offers a dead shard again, its counters at zero. ARGV: shard.
if redis.call('SREM', DEAD, ARGV[1]) == 0 then return 0 end
redis.call('HDEL', TROUBLE, ARGV[1])
enqueue(ARGV[1])
return 1
