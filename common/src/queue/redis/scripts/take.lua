-- A shard for a worker. ARGV: worker, then lanes (1 to 3) in the order in which to look.
local worker = ARGV[1]
if redis.call('EXISTS', META) == 0 then return { 'over' } end
local admitted = redis.call('HGET', ADMITTED, worker)
if not admitted then return { 'not-admitted' } end
local verdict = string.sub(admitted, 1, 1)
if verdict == '!' then return { 'retired', string.sub(admitted, 2) } end
if verdict == '-' then return { 'refused', string.sub(admitted, 2) } end
redis.call('ZADD', SEEN, int(now), worker)
pass_time()
if meta('draining') == '1' then return { 'drain' } end
if meta('finishing') == '1' and redis.call('HLEN', JOB) == redis.call('SCARD', DEAD) then
  return { 'finished' }
end

local function another_is_there(avoid)
  for _, peer in ipairs(redis.call('ZRANGEBYSCORE', SEEN, int(now - silence_limit()), '+inf')) do
    if not contains(avoid, peer) then return true end
  end
  return false
end

if meta('paused') ~= '1' then
  for i = 2, #ARGV do
    local lane = tonumber(ARGV[i])
    for _ = 1, 100 do
      local read = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', 1, 'STREAMS', LANES[lane], '>')
      if not read then break end
      local entry = read[1][2][1]
      local id, shard = entry[1], entry[2][2]
      local job = redis.call('HGET', JOB, shard)
      local avoid = job and avoided_by(shard) or {}
      if not job then
        redis.call('XACK', LANES[lane], GROUP, id)
      elseif contains(avoid, worker) and another_is_there(avoid) then
        redis.call('XACK', LANES[lane], GROUP, id)
        redis.call('ZADD', RETRY, int(now + 250), shard)
      else
        local ttl = tonumber(meta('ttl'))
        local epoch = int(redis.call('HINCRBY', COUNTER, 'epoch', 1))
        redis.call('HSET', LEASE, shard, cjson.encode({
          worker = worker, epoch = epoch, lane = lane, entry = id, since = int(now),
          ticks = '0', moved = int(now), note = '',
        }))
        redis.call('ZADD', DEADLINE, int(now + ttl), shard)
        event('leased', shard, epoch, worker)
        return { 'leased', shard, epoch, int(ttl), string.sub(job, 2) }
      end
    end
  end
end

-- Nothing: where the lanes end now, and when time will bring something, so that the caller can wait for either.
local answer = { 'empty' }
for lane = 1, 3 do
  local info = redis.call('XINFO', 'STREAM', LANES[lane])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then table.insert(answer, info[i + 1]) end
  end
end
local due = now + 60000
for _, times in ipairs({ RETRY, DEADLINE }) do
  local first = redis.call('ZRANGE', times, 0, 0, 'WITHSCORES')
  if first[2] then due = math.min(due, tonumber(first[2])) end
end
table.insert(answer, int(math.max(0, due - now)))
return answer
