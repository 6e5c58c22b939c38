-- Takes a shard out. ARGV: shard. 0: done, claimed, dead or unknown; 1: once its worker lets go; 2: at once.
local shard = ARGV[1]
if redis.call('HEXISTS', JOB, shard) == 0 or redis.call('SISMEMBER', DEAD, shard) == 1
  or redis.call('SISMEMBER', CLAIMED, shard) == 1 then
  return 0
end
local raw = redis.call('HGET', LEASE, shard)
if raw then
  local lease = cjson.decode(raw)
  lease.cancel = true
  redis.call('HSET', LEASE, shard, cjson.encode(lease))
  redis.call('SADD', LEAVING, shard)
  return 1
end
drop(shard)
return 2
