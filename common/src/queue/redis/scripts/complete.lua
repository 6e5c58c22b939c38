-- Delivers a claim, welcome even when the lease is lost. ARGV: worker, shard, epoch, claim.
-- A shard whose holder claims it is nobody's until the coordinator has judged.
local worker, shard, epoch = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', META) == 0 then return 'over' end
if redis.call('XLEN', CLAIMS) >= 500000 then return 'full' end
redis.call('ZADD', SEEN, 'XX', int(now), worker)
local lease = held(shard, worker, epoch)
if lease then
  end_lease(shard, lease)
  redis.call('SADD', CLAIMED, shard)
end
redis.call('XADD', CLAIMS, '*', 'shard', shard, 'epoch', epoch, 'worker', worker, 'held', lease and '1' or '0',
  'claim', ARGV[4])
return 'delivered'
