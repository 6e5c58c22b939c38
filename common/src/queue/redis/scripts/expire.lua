-- Lets a lease run out now: its worker is taken for gone. One that is renewed before anybody looks lives on. ARGV: shard.
if redis.call('HEXISTS', LEASE, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', DEADLINE, 0, ARGV[1])
return 1
