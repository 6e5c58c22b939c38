-- Sets paused, draining or finishing. ARGV: field, '0' or '1'.
redis.call('HSET', META, ARGV[1], ARGV[2])
return 1
