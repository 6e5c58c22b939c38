-- Adds shards that are not there. ARGV: shard, lane (0 to 2) and job, avoided workers; again and again.
local added = 0
for i = 1, #ARGV, 3 do
  local shard = ARGV[i]
  if redis.call('HSETNX', JOB, shard, ARGV[i + 1]) == 1 then
    if ARGV[i + 2] ~= '' then redis.call('HSET', AVOID, shard, ARGV[i + 2]) end
    enqueue(shard)
    added = added + 1
  end
end
return added
