-- A worker asks to be let in. ARGV: worker, message. The coordinator answers in the hash of the admitted.
if redis.call('EXISTS', META) == 0 then return 'over' end
if redis.call('XLEN', HELLO) >= 10000 then return 'full' end
redis.call('XADD', HELLO, '*', 'worker', ARGV[1], 'hello', ARGV[2])
return 'asked'
