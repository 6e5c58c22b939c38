-- Begins a run, or takes over one that is there; leases, counters and claims stay.
-- ARGV: incarnation, then names and values of the numbers that the transitions run with.
for lane = 1, 3 do
  local groups = redis.call('EXISTS', LANES[lane]) == 1 and redis.call('XINFO', 'GROUPS', LANES[lane]) or {}
  if #groups == 0 then redis.call('XGROUP', 'CREATE', LANES[lane], GROUP, '0', 'MKSTREAM') end
end
-- What an earlier coordinator was taking out: this one says anew what it does not want.
for _, shard in ipairs(redis.call('SMEMBERS', LEAVING)) do
  local raw = redis.call('HGET', LEASE, shard)
  if raw then
    local lease = cjson.decode(raw)
    lease.cancel = nil
    redis.call('HSET', LEASE, shard, cjson.encode(lease))
    redis.call('SREM', LEAVING, shard)
  elseif redis.call('SISMEMBER', CLAIMED, shard) == 1 then
    redis.call('SREM', LEAVING, shard)
  else
    drop(shard)
  end
end
redis.call('HSET', META, 'incarnation', ARGV[1], 'paused', '0', 'draining', '0', 'finishing', '0')
for i = 2, #ARGV, 2 do redis.call('HSET', META, ARGV[i], ARGV[i + 1]) end
-- Epochs go on from the clock, so that none repeats even when the server has lost everything.
local epoch = tonumber(redis.call('HGET', COUNTER, 'epoch') or '0')
redis.call('HSET', COUNTER, 'epoch', int(math.max(epoch, now * 1000)))
return 1
