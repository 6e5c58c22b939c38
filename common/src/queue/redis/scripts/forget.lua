-- A worker is gone; what it still held is a crash each. A retired one stays known as such.
-- ARGV: worker.
for _, pair in ipairs(leases_of(ARGV[1])) do
  event('crashed', pair[1], pair[2].epoch, ARGV[1], crash(pair[1], pair[2]))
end
local admitted = redis.call('HGET', ADMITTED, ARGV[1])
if admitted and string.sub(admitted, 1, 1) ~= '!' then redis.call('HDEL', ADMITTED, ARGV[1]) end
redis.call('HDEL', WORKERS, ARGV[1])
redis.call('ZREM', SEEN, ARGV[1])
return 1
