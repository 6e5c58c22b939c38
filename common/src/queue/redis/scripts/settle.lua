-- What became of a claim. ARGV: entry, shard, epoch, worker, '1' if its holder claimed,
-- 'accept' | 'reject' | 'undecided', reason. Answers 1 when the shard was unfinished until now.
local entry, shard, epoch, worker = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
redis.call('XDEL', CLAIMS, entry)
if ARGV[6] == 'accept' then
  local known = redis.call('HEXISTS', JOB, shard)
  local raw = redis.call('HGET', LEASE, shard)
  if raw then release(shard, cjson.decode(raw)) end
  drop(shard)
  return known
end
if ARGV[5] == '1' and redis.call('SREM', CLAIMED, shard) == 1 then
  if redis.call('SISMEMBER', LEAVING, shard) == 1 then
    drop(shard)
    event('handed-back', shard, epoch, worker, 'cancelled')
  elseif ARGV[6] == 'reject' then
    event('failed', shard, epoch, worker, err(shard, worker, 'Transient', false, ARGV[7]), 'Transient', ARGV[7])
  else
    enqueue(shard)
    event('handed-back', shard, epoch, worker, 'requeued')
  end
end
return 0
