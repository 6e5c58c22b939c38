-- Unfinished, without blame. ARGV: worker, shard, epoch.
local worker, shard, epoch = ARGV[1], ARGV[2], ARGV[3]
local lease = held(shard, worker, epoch)
if not lease then return 0 end
redis.call('ZADD', SEEN, int(now), worker)
event('handed-back', shard, epoch, worker, release(shard, lease))
return 1
