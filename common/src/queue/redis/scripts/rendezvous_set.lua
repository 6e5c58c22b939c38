-- Sets a value for the ranks of a generation. ARGV: generation, most values, key, value.
-- The first value of a newer generation clears the older ones; a value of an older one goes nowhere.
if redis.call('EXISTS', META) == 0 then return 'over' end
local generation = tonumber(ARGV[1])
local newest = tonumber(redis.call('HGET', RENDEZVOUS, 'generation') or '0')
if generation < newest then return 'old' end
if generation > newest then
  redis.call('DEL', RENDEZVOUS)
  redis.call('HSET', RENDEZVOUS, 'generation', ARGV[1])
end
if redis.call('HLEN', RENDEZVOUS) > tonumber(ARGV[2]) then return 'full' end
redis.call('HSET', RENDEZVOUS, 'note:' .. ARGV[3], ARGV[4])
return 'set'
