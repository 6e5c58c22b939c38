-- Ends a worker that is not trusted any more. ARGV: worker, reason.
for _, pair in ipairs(leases_of(ARGV[1])) do
  event('handed-back', pair[1], pair[2].epoch, ARGV[1], release(pair[1], pair[2]))
end
redis.call('HSET', ADMITTED, ARGV[1], '!' .. ARGV[2])
redis.call('ZREM', SEEN, ARGV[1])
return 1
