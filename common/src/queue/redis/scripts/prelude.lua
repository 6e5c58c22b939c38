-- What every transition shares. KEYS are the same for all of them, in the order of keys.rs; all times are
-- milliseconds of the server's clock, the only clock of a run. Numbers are written with int(): Lua would
-- print large ones with an exponent.
local META, JOB, AVOID, LEASE, DEADLINE, RETRY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local TROUBLE, DEAD, CLAIMED, CLAIMS, EVENTS = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local HELLO, ADMITTED, WORKERS, SEEN, COUNTER = KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16]
local LEAVING, RENDEZVOUS, LANES = KEYS[17], KEYS[18], { KEYS[19], KEYS[20], KEYS[21] }
local GROUP = 'workers'
local MAX_EVENTS = 4096

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function int(number) return string.format('%.0f', number) end

local function meta(field) return redis.call('HGET', META, field) end

local function event(kind, shard, epoch, worker, setback, class, message)
  redis.call('XADD', EVENTS, 'MAXLEN', '~', MAX_EVENTS, '*', 'kind', kind, 'shard', shard, 'epoch', epoch,
    'worker', worker, 'setback', setback or '', 'class', class or '', 'message', message or '')
end

-- Offers a shard: behind the others of its priority, also when it comes back.
local function enqueue(shard)
  local job = redis.call('HGET', JOB, shard)
  if not job then return end
  redis.call('XADD', LANES[tonumber(string.sub(job, 1, 1)) + 1], '*', 's', shard)
end

-- The lease, if it is this one.
local function held(shard, worker, epoch)
  local raw = redis.call('HGET', LEASE, shard)
  if not raw then return nil end
  local lease = cjson.decode(raw)
  if lease.worker ~= worker or lease.epoch ~= epoch then return nil end
  return lease
end

local function end_lease(shard, lease)
  redis.call('XACK', LANES[lease.lane], GROUP, lease.entry)
  redis.call('HDEL', LEASE, shard)
  redis.call('ZREM', DEADLINE, shard)
end

local function trouble_of(shard)
  local raw = redis.call('HGET', TROUBLE, shard)
  if raw then return cjson.decode(raw) end
  return { errors = 0, crashes = 0 }
end

local function avoided_by(shard)
  local raw = redis.call('HGET', AVOID, shard)
  if raw then return cjson.decode(raw) end
  return {}
end

local function contains(list, name)
  for _, entry in ipairs(list) do
    if entry == name then return true end
  end
  return false
end

-- The end of a lease without a word from its owner. One that was to be cancelled is offered to nobody any more;
-- the coordinator takes it out with its next poll.
local function crash(shard, lease)
  end_lease(shard, lease)
  if lease.cancel then return 'cancelled' end
  local trouble = trouble_of(shard)
  trouble.crashes = trouble.crashes + 1
  trouble.worker = lease.worker
  trouble.class = nil
  trouble.message = nil
  redis.call('HSET', TROUBLE, shard, cjson.encode(trouble))
  if trouble.crashes >= tonumber(meta('max_crashes')) then
    redis.call('SADD', DEAD, shard)
    return 'dead'
  end
  enqueue(shard)
  return 'requeued'
end

-- An error of a shard that is not leased any more. The next attempt is somebody else's, after the wait that
-- backoff.rs describes.
local function record_error(shard, worker, class, final, message)
  local trouble = trouble_of(shard)
  trouble.errors = trouble.errors + 1
  trouble.worker = worker
  trouble.class = class
  trouble.message = message
  redis.call('HSET', TROUBLE, shard, cjson.encode(trouble))
  local avoid = avoided_by(shard)
  if not contains(avoid, worker) then
    if #avoid >= tonumber(meta('max_avoided')) then table.remove(avoid, 1) end
    table.insert(avoid, worker)
    redis.call('HSET', AVOID, shard, cjson.encode(avoid))
  end
  if final or trouble.errors >= tonumber(meta('max_errors')) then
    redis.call('SADD', DEAD, shard)
    return 'dead'
  end
  local base, cap = tonumber(meta('backoff_base')), tonumber(meta('backoff_cap'))
  local ceiling = math.min(cap, base * 2 ^ math.min(trouble.errors - 1, 31))
  local jitter = tonumber(shard) * tonumber(meta('jitter_per_shard')) + trouble.errors * tonumber(meta('jitter_per_error'))
  local at = int(now + ceiling * (jitter - math.floor(jitter)))
  redis.call('ZADD', RETRY, at, shard)
  return 'retry ' .. at
end

-- Unfinished, without blame.
local function release(shard, lease)
  end_lease(shard, lease)
  if lease.cancel then return 'cancelled' end
  enqueue(shard)
  return 'requeued'
end

-- Every lease of a worker, as { shard, lease } pairs. The hash is as small as the fleet.
local function leases_of(worker)
  local all, mine = redis.call('HGETALL', LEASE), {}
  for i = 1, #all, 2 do
    local lease = cjson.decode(all[i + 1])
    if lease.worker == worker then table.insert(mine, { all[i], lease }) end
  end
  return mine
end

-- What time alone brings: retries that are due, leases that have run out. Whoever calls does it.
local function pass_time()
  for _, shard in ipairs(redis.call('ZRANGEBYSCORE', RETRY, '-inf', int(now), 'LIMIT', 0, 100)) do
    redis.call('ZREM', RETRY, shard)
    enqueue(shard)
  end
  for _, shard in ipairs(redis.call('ZRANGEBYSCORE', DEADLINE, '-inf', int(now), 'LIMIT', 0, 100)) do
    local raw = redis.call('HGET', LEASE, shard)
    if raw then
      local lease = cjson.decode(raw)
      event('crashed', shard, lease.epoch, lease.worker, crash(shard, lease))
    else
      redis.call('ZREM', DEADLINE, shard)
    end
  end
end

-- A worker that has not been heard of for longer is gone.
local function silence_limit() return 2 * tonumber(meta('ttl')) + 1000 end
