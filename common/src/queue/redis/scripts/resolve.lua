-- What became of claims. ARGV: entry, shard, epoch, worker, '1' if its holder claimed, 'accept' | 'reject' | 'undecided',
-- reason; again and again. Answers how many shards are done that were not.
local done = 0
for i = 1, #ARGV, 7 do
  local shard, epoch, worker = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local by_holder, verdict, reason = ARGV[i + 4] == '1', ARGV[i + 5], ARGV[i + 6]
  redis.call('XDEL', CLAIMS, ARGV[i])
  if verdict == 'accept' then
    done = done + redis.call('HEXISTS', JOB, shard)
    local raw = redis.call('HGET', LEASE, shard)
    if raw then end_lease(shard, cjson.decode(raw)) end
    drop(shard)
  elseif by_holder and redis.call('SREM', CLAIMED, shard) == 1 then
    if redis.call('SISMEMBER', LEAVING, shard) == 1 then
      drop(shard)
      event('handed-back', shard, epoch, worker, 'cancelled')
    elseif verdict == 'reject' then
      event('failed', shard, epoch, worker, record_error(shard, worker, 'Transient', false, reason), 'Transient', reason)
    else
      enqueue(shard)
      event('handed-back', shard, epoch, worker, 'requeued')
    end
  end
end
return done
