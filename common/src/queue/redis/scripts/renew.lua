-- Extends a lease, by four of its measured ticks where that is more than the configured time.
-- ARGV: worker, shard, epoch, ticks, note. Answers 'lost', 'held' or 'cancel'.
local worker, shard, epoch = ARGV[1], ARGV[2], ARGV[3]
local lease = held(shard, worker, epoch)
if not lease then return 'lost' end
redis.call('ZADD', SEEN, int(now), worker)
local extension = tonumber(meta('ttl'))
local ticks = tonumber(ARGV[4]) - tonumber(lease.ticks)
if ticks > 0 then
  extension = math.max(extension, tonumber(meta('ticks_per_lease')) * (now - tonumber(lease.moved)) / ticks)
  lease.ticks = ARGV[4]
  lease.moved = int(now)
end
lease.note = ARGV[5]
redis.call('HSET', LEASE, shard, cjson.encode(lease))
redis.call('ZADD', DEADLINE, 'GT', int(now + extension), shard)
-- The lease above decides; this keeps the idle time that XPENDING shows to people true.
redis.call('XCLAIM', LANES[lease.lane], GROUP, worker, 0, lease.entry, 'JUSTID')
if lease.cancel then return 'cancel' end
return 'held'
