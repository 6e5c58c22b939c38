-- An error of the lease's holder. ARGV: worker, shard, epoch, class, '1' if final, message.
local worker, shard, epoch = ARGV[1], ARGV[2], ARGV[3]
local lease = held(shard, worker, epoch)
if not lease then return 0 end
redis.call('ZADD', SEEN, int(now), worker)
end_lease(shard, lease)
local setback = 'cancelled'
if not lease.cancel then
  setback = record_error(shard, worker, ARGV[4], ARGV[5] == '1', ARGV[6])
end
event('failed', shard, epoch, worker, setback, ARGV[4], ARGV[6])
return 1
