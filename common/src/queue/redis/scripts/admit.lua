-- Answers a worker. ARGV: worker, '+nonce' or '-reason', what it said of itself.
redis.call('HSET', ADMITTED, ARGV[1], ARGV[2])
if string.sub(ARGV[2], 1, 1) == '+' then
  redis.call('HSET', WORKERS, ARGV[1], ARGV[3])
  redis.call('ZADD', SEEN, int(now), ARGV[1])
end
return 1
