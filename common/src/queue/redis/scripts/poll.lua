-- Passes time, takes out what is cancelled, trims the lanes, finds silent workers. Answers: incarnation, shards known, leased,
-- claimed, retrying, dead, and the workers that have been silent for too long and hold nothing.
local incarnation = meta('incarnation')
if not incarnation then return { '' } end
pass_time()
for _, shard in ipairs(redis.call('SMEMBERS', LEAVING)) do
  if redis.call('HEXISTS', LEASE, shard) == 0 and redis.call('SISMEMBER', CLAIMED, shard) == 0 then drop(shard) end
end
for lane = 1, 3 do
  -- Everything before the lowest unfinished entry goes. Deleting single entries would spoil the group's lag.
  -- Asked for one entry: the summary would walk over every worker there ever was.
  local pending = redis.call('XPENDING', LANES[lane], GROUP, '-', '+', 1)
  local lowest = pending[1] and pending[1][1]
  if not lowest then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', LANES[lane])) do
      for i = 1, #group, 2 do
        if group[i] == 'last-delivered-id' then lowest = group[i + 1] end
      end
    end
  end
  if lowest then redis.call('XTRIM', LANES[lane], 'MINID', lowest) end
end
local answer = {
  incarnation, redis.call('HLEN', JOB), redis.call('HLEN', LEASE), redis.call('SCARD', CLAIMED),
  redis.call('ZCARD', RETRY), redis.call('SCARD', DEAD),
}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', int(now - silence_limit()))) do
  if #leases_of(worker) == 0 then table.insert(answer, worker) end
end
return answer
