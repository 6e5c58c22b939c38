-- What the coordinator's transitions share, behind the prelude. A worker may run any loaded script, so each of them
-- begins with this refusal: nothing has happened yet.
if not redis.acl_check_cmd('HSET', META, 'incarnation', '') then
  return redis.error_reply("NOPERM this is a transition of the coordinator's")
end

-- Done or cancelled: nothing of the shard stays. An entry in a lane without a job is passed over by take.
local function drop(shard)
  redis.call('HDEL', JOB, shard)
  redis.call('HDEL', AVOID, shard)
  redis.call('HDEL', TROUBLE, shard)
  redis.call('ZREM', RETRY, shard)
  redis.call('SREM', DEAD, shard)
  redis.call('SREM', CLAIMED, shard)
  redis.call('SREM', LEAVING, shard)
end
